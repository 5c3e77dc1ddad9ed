//! Which assets are to be watched, and what of each.

use std::collections::{BTreeMap, BTreeSet};

use super::currency::Said;
use super::error::{LanguageCode, LanguageError};
use super::lexicon::Watch;
use super::nearest::nearest_sentence;
use super::own_thing;
use super::phrase::{Item, Phrase};
use super::sentence::Sentence;
use super::suggest;
use super::token::Span;

/// Assets that stand together, from one phrase up to another.
#[derive(Debug)]
struct Group {
    assets: Vec<Said>,
    first: usize,
    last: usize,
}

/// What the item asks to watch.
pub(super) const fn watch_of(item: &Item) -> Option<Watch> {
    match item {
        Item::Watch(watch) => Some(*watch),
        Item::Depth(_) => Some(Watch::Book),
        _ => None,
    }
}

/// What to watch of each asset. `has_url`: a sentence may then do without assets.
pub(super) fn demands(
    sentence: &Sentence<'_>,
    has_url: bool,
) -> Result<BTreeMap<Said, BTreeSet<Watch>>, LanguageError> {
    let groups = groups(sentence)?;
    let watches = watches(&sentence.phrases);
    if groups.is_empty() {
        return if has_url && watches.is_empty() {
            Ok(BTreeMap::new())
        } else {
            Err(without_asset(sentence, !watches.is_empty()))
        };
    }
    let watches = if watches.is_empty() { vec![(0, the_default(sentence)?)] } else { watches };
    let own: Vec<bool> =
        groups.iter().map(|group| own_thing::is_one(sentence, group.first, group.last)).collect();
    let mut demands = bind(&sentence.phrases, &groups, &watches, &own);
    for (group, _) in groups.iter().zip(own).filter(|(_, own)| *own) {
        for asset in &group.assets {
            own_thing::watch(demands.entry(asset.clone()).or_default());
        }
    }
    Ok(demands)
}

/// Groups of wanted assets, in order.
fn groups(sentence: &Sentence<'_>) -> Result<Vec<Group>, LanguageError> {
    let mut groups: Vec<Group> = Vec::new();
    let mut open = false;
    for (at, phrase) in sentence.phrases.iter().enumerate() {
        match &phrase.item {
            Item::Asset(said) if !phrase.negated => {
                refuse_if_unwanted(sentence, said, phrase.span)?;
                match groups.last_mut().filter(|_| open) {
                    Some(group) => {
                        group.assets.push(said.clone());
                        group.last = at;
                    }
                    None => groups.push(Group { assets: vec![said.clone()], first: at, last: at }),
                }
                open = true;
            }
            Item::And { .. } | Item::Noise | Item::Of | Item::Market(_) | Item::Number => {}
            _ => open = false,
        }
    }
    Ok(groups)
}

fn refuse_if_unwanted(sentence: &Sentence<'_>, said: &Said, span: Span) -> Result<(), LanguageError> {
    let unwanted = |phrase: &Phrase| phrase.negated && phrase.item == Item::Asset(said.clone());
    if sentence.phrases.iter().any(unwanted) {
        let message = format!("{} is both asked for and taken away", said.base());
        return Err(LanguageError::new(LanguageCode::Contradiction, message).at(span));
    }
    Ok(())
}

/// What is to be watched, each with its place. Figures made of prices ask for prices where nothing else gives them.
pub(super) fn watches(phrases: &[Phrase]) -> Vec<(usize, Watch)> {
    let wanted = || phrases.iter().enumerate().filter(|(_, phrase)| !phrase.negated);
    let mut watches: Vec<(usize, Watch)> =
        wanted().filter_map(|(at, phrase)| Some((at, watch_of(&phrase.item)?))).collect();
    let priced =
        |watch: &Watch| matches!(watch, Watch::Price | Watch::Trades | Watch::Ticker | Watch::Everything);
    if !watches.iter().any(|(_, watch)| priced(watch)) {
        let figures = wanted().filter(|(at, phrase)| is_price_figure(phrases, *at, phrase));
        watches.extend(figures.map(|(at, _)| (at, Watch::Price)));
    }
    watches
}

/// "last tweets" are no price.
fn is_price_figure(phrases: &[Phrase], at: usize, phrase: &Phrase) -> bool {
    let qualifies = phrases.get(at + 1).is_some_and(|next| watch_of(&next.item).is_some());
    phrase.item == Item::Figure { of_prices: true } && !qualifies
}

/// Prices, unless something else was asked for in words that were not understood.
fn the_default(sentence: &Sentence<'_>) -> Result<Watch, LanguageError> {
    for phrase in sentence.phrases.iter().filter(|phrase| !phrase.negated) {
        let word = sentence.words(phrase.span);
        if phrase.item == Item::Unsupported {
            return Err(unsupported(sentence, phrase.span));
        }
        let Item::Strange { .. } = phrase.item else { continue };
        if let Some((meant, _)) = suggest::watch(word) {
            let message = format!("\"{word}\" is not understood; did you mean \"{meant}\"?");
            let error = LanguageError::new(LanguageCode::NothingToWatch, message).at(phrase.span);
            return Err(error.suggest([meant]));
        }
    }
    Ok(Watch::Price)
}

pub(super) fn unsupported(sentence: &Sentence<'_>, span: Span) -> LanguageError {
    let word = sentence.words(span);
    let served = "price, trades, order book, liquidations, funding and tweets";
    let message = format!("\"{word}\" is not served; there are {served}");
    let error = LanguageError::new(LanguageCode::Unsupported, message).at(span);
    error.suggest([nearest_sentence(sentence)])
}

fn without_asset(sentence: &Sentence<'_>, has_watch: bool) -> LanguageError {
    let unwanted = sentence.phrases.iter().any(|phrase| matches!(phrase.item, Item::Asset(_)));
    if has_watch || unwanted {
        let message = "no asset is named: say which, such as BTC, bitcoin or ETH/EUR";
        return LanguageError::new(LanguageCode::NoAsset, message).suggest(suggest::EXAMPLES);
    }
    if let Some(phrase) = sentence.phrases.iter().find(|phrase| phrase.item == Item::Unsupported) {
        return unsupported(sentence, phrase.span);
    }
    let message = "nothing to stream was recognised: name an asset and what to watch";
    LanguageError::new(LanguageCode::NothingRecognised, message).suggest(suggest::EXAMPLES)
}

/// Gives each thing to watch its assets: those that follow it after "of", else those before it, else the next. Assets that nothing went to
/// are given all of it, unless they are a thing of their own.
fn bind(
    phrases: &[Phrase],
    groups: &[Group],
    watches: &[(usize, Watch)],
    own: &[bool],
) -> BTreeMap<Said, BTreeSet<Watch>> {
    let mut demands: BTreeMap<Said, BTreeSet<Watch>> = BTreeMap::new();
    let mut served = vec![false; groups.len()];
    for (at, watch) in watches {
        let group = group_of(phrases, groups, *at);
        served[group] = true;
        add(&mut demands, &groups[group], &[*watch]);
    }
    let all: Vec<Watch> = watches.iter().map(|(_, watch)| *watch).collect();
    let has_none = served.iter().zip(own).map(|(served, own)| !served && !own);
    for (group, _) in groups.iter().zip(has_none).filter(|(_, has_none)| *has_none) {
        add(&mut demands, group, &all);
    }
    demands
}

fn add(demands: &mut BTreeMap<Said, BTreeSet<Watch>>, group: &Group, watches: &[Watch]) {
    for asset in &group.assets {
        demands.entry(asset.clone()).or_default().extend(watches);
    }
}

fn group_of(phrases: &[Phrase], groups: &[Group], watch: usize) -> usize {
    let next = groups.iter().position(|group| group.first > watch);
    let own = next.filter(|next| is_object_of(&phrases[watch + 1..groups[*next].first]));
    let before = groups.iter().rposition(|group| group.last < watch);
    own.or(before).or(next).unwrap_or(0)
}

/// Whether only "of" and words without meaning stand between.
fn is_object_of(between: &[Phrase]) -> bool {
    let of = between.iter().any(|phrase| phrase.item == Item::Of);
    of && between.iter().all(|phrase| matches!(phrase.item, Item::Of | Item::Noise | Item::Market(_)))
}
