//! Errors for people: an error and its causes in one line.

use std::error::Error;

/// The error's text and those of its causes, without what an earlier text has said already: some
/// errors tell their cause themselves, others leave it to who asks.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let told = cause.to_string();
        if !text.contains(&told) {
            text.extend([": ", &told]);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    enum Fault {
        #[error("in use")]
        Root,
        #[error("cannot listen: {0}")]
        Telling(#[source] Box<Fault>),
        #[error("no relay")]
        Silent(#[source] Box<Fault>),
    }

    #[test]
    fn each_cause_is_told_once() {
        let telling = Fault::Telling(Box::new(Fault::Root));
        assert_eq!(one_line(&telling), "cannot listen: in use");
        let silent = Fault::Silent(Box::new(telling));
        assert_eq!(one_line(&silent), "no relay: cannot listen: in use");
    }
}
