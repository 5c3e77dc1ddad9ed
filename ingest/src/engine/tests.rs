//! What reports and commands cost.

use bond_core::source::SourceState;

use super::probe::Probe;

async fn probe(most: usize) -> Probe {
    Probe::alone(most).await.expect("an engine")
}

#[tokio::test]
async fn a_report_costs_the_topics_that_it_concerns_however_many_run() {
    let mut probe = probe(20_000).await;
    probe.want(5_000);
    let before = probe.tellings();
    probe.report(1_000, SourceState::Unavailable);
    assert_eq!(probe.tellings() - before, 1_000);
    assert_eq!(probe.told(), 1_000, "each topic is told");
    (0..100).for_each(|_| probe.wake());
    assert_eq!(probe.tellings() - before, 1_000, "who sleeps is not looked at");
}

#[tokio::test]
async fn the_board_names_a_bounded_number_of_what_cannot_be_had() {
    let mut probe = probe(20_000).await;
    probe.want(500);
    probe.report(500, SourceState::Unavailable);
    let named =
        |probe: &Probe| probe.ports().board.snapshot().keys().filter(|name| name.contains(':')).count();
    assert_eq!(named(&probe), 64);
    probe.report(490, SourceState::Connected);
    assert_eq!(named(&probe), 10, "those that found no room before are named once there is some");
}

#[tokio::test]
async fn beyond_the_bound_topics_are_told_that_there_is_a_limit() {
    let mut probe = probe(300).await;
    probe.want(500);
    assert_eq!(probe.told(), 200, "those beyond, and no other");
    assert_eq!(probe.ports().board.snapshot()["okx"].state, SourceState::Unavailable);
    probe.report(300, SourceState::Connected);
    assert_eq!(probe.ports().board.snapshot()["okx"].state, SourceState::Connected);
}
