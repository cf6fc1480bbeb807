//! The sessions of a topic, in pages: who fans out holds the pages, and a change meanwhile copies one of them.

use std::sync::Arc;

use super::session::Session;

const PAGE_SESSIONS: usize = 256;

/// Sessions in no order.
pub(super) type Page = Arc<Vec<Arc<Session>>>;

/// Every member of a topic.
#[derive(Default)]
pub(super) struct Members {
    pages: Vec<Page>,
    /// Pages with free places.
    open: Vec<usize>,
    count: usize,
}

impl Members {
    /// All of them, as they are now.
    pub(super) fn pages(&self) -> Vec<Page> {
        self.pages.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// A page with a free place.
    pub(super) fn open_page(&mut self) -> usize {
        if self.open.is_empty() {
            self.open.push(self.pages.len());
            self.pages.push(Page::default());
        }
        self.open[self.open.len() - 1]
    }

    /// Adds one to the page that was just found.
    pub(super) fn add(&mut self, page: usize, session: Arc<Session>) {
        let members = Arc::make_mut(&mut self.pages[page]);
        members.push(session);
        self.count += 1;
        if members.len() == PAGE_SESSIONS {
            self.open.pop();
        }
    }

    /// Takes one out, if it is there.
    pub(super) fn remove(&mut self, session: &Session, page: usize) {
        let Some(place) = self.pages.get_mut(page) else { return };
        let Some(at) = place.iter().position(|it| std::ptr::eq(&raw const **it, session)) else { return };
        let members = Arc::make_mut(place);
        members.swap_remove(at);
        if members.len() == PAGE_SESSIONS - 1 {
            self.open.push(page);
        }
        self.count -= 1;
    }
}
