//! The annotation [`api::INVOKE`]: a custom action of the bundle that is to run once.

/// The longest value that is remembered.
const LONGEST: usize = 128;
/// What runs by what the document asks for, and nobody may run beside it.
const BUILT_IN: [&str; 3] = ["install", "upgrade", "uninstall"];

/// A custom action that a document asks for: `backup@2026-01-31`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invoke {
    /// The name of the action.
    pub action: String,
    /// What tells one request from the next: the action, and what stands behind the `@`.
    pub value: String,
}

impl Invoke {
    /// What an annotation asks for.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let (action, token) =
            text.split_once('@').ok_or_else(|| format!("is {text:?}, and says not which time: {FORM}"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if !action.starts_with(|c: char| c.is_ascii_alphanumeric()) || !action.chars().all(plain) {
            return Err(format!("is {text:?}, and {action:?} is no name of an action: {FORM}"));
        }
        if BUILT_IN.iter().any(|built_in| action.eq_ignore_ascii_case(built_in)) {
            return Err(format!("asks for {action}, which runs by what the document says: remove it"));
        }
        if token.is_empty() || !token.chars().all(|c| c.is_ascii_graphic()) {
            return Err(format!(
                "is {text:?}, and what stands behind the @ has to be letters, digits or signs: {FORM}"
            ));
        }
        if text.len() > LONGEST {
            return Err(format!("has {} characters, and may have {LONGEST}", text.len()));
        }
        Ok(Self { action: action.to_owned(), value: text.to_owned() })
    }
}

const FORM: &str = "write the action, an @, and what you change for each further run, as in backup@1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_and_which_time() {
        for (text, action) in [
            ("backup@1", Ok("backup")),
            ("io.cnab.status@2026-01-31T10:00:00Z", Ok("io.cnab.status")),
            ("back_up-2@a@b", Ok("back_up-2")),
            ("backup", Err("says not which time")),
            ("", Err("says not which time")),
            ("@1", Err("no name of an action")),
            ("-backup@1", Err("no name of an action")),
            ("back up@1", Err("no name of an action")),
            ("backup@", Err("behind the @")),
            ("backup@a b", Err("behind the @")),
            ("Uninstall@1", Err("asks for Uninstall")),
            ("upgrade@1", Err("asks for upgrade")),
        ] {
            match (Invoke::read(text), action) {
                (Ok(invoke), Ok(action)) => assert_eq!((invoke.action.as_str(), invoke.value.as_str()), (action, text)),
                (Err(error), Err(words)) => assert!(error.contains(words), "{text}: {error}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        assert!(Invoke::read(&format!("backup@{}", "x".repeat(200))).is_err());
    }
}
