//! The compressed frames of items: kept beside them, counted as held, gone with them.

use std::sync::Arc;

use super::History;
use crate::delivery::deflate::DeflatedForms;

impl History {
    /// The compressed frames of the item that ends at `offset`; `None` where it is kept no more.
    pub(crate) fn deflated(&mut self, offset: u64) -> Option<Arc<DeflatedForms>> {
        let index = self.index_of(offset)?;
        let place = &mut self.places[index];
        if place.deflated.is_none() {
            let forms = DeflatedForms::default();
            forms.count(size_of::<DeflatedForms>() as u64);
            self.extra_bytes += forms.counted();
            place.deflated = Some(Arc::new(forms));
        }
        place.deflated.clone()
    }

    /// Counts what was added to these frames, if they are those of the item that ends at `offset`.
    pub(crate) fn count_deflated(&mut self, offset: u64, forms: &Arc<DeflatedForms>, bytes: u64) {
        let kept = self.index_of(offset).and_then(|index| self.places[index].deflated.as_ref());
        if kept.is_some_and(|kept| Arc::ptr_eq(kept, forms)) {
            forms.count(bytes);
            self.extra_bytes += bytes;
        }
    }

    fn index_of(&self, offset: u64) -> Option<usize> {
        self.places.binary_search_by_key(&offset, |place| place.end).ok()
    }
}
