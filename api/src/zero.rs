//! What is left out of an object when it is written.

/// A value that says no more than its absence. In its own kinds the operator drops it when it writes an object back.
pub(crate) trait Zero {
    fn is_zero(&self) -> bool;
}

impl Zero for String {
    fn is_zero(&self) -> bool {
        self.is_empty()
    }
}

impl Zero for bool {
    fn is_zero(&self) -> bool {
        !self
    }
}

impl Zero for i32 {
    fn is_zero(&self) -> bool {
        *self == 0
    }
}

impl Zero for serde_json::Value {
    fn is_zero(&self) -> bool {
        match self {
            Self::Null => true,
            Self::Object(fields) => fields.is_empty(),
            _ => false,
        }
    }
}

impl<T: Zero> Zero for Option<T> {
    fn is_zero(&self) -> bool {
        self.as_ref().is_none_or(Zero::is_zero)
    }
}

pub(crate) fn is_zero<T: Zero>(value: &T) -> bool {
    value.is_zero()
}
