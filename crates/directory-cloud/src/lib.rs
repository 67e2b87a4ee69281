//! A cloud made of a folder
