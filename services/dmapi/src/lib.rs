//! dmapi places
