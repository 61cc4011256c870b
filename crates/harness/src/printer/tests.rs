//! Every line of the grammar, as it is shown.
