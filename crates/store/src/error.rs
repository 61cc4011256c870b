/// Why a store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The store cannot be reached or takes no more work now; nothing was written.
    #[error("the store is unavailable: {0}")]
    Unavailable(String),
    /// The commit failed or its answer was lost: the write may have happened. Ask again
    /// and let the guards decide; never assume.
    #[error("the outcome of the commit is unknown: {0}")]
    Unknown(String),
    /// There is no room left for the write; nothing was written.
    #[error("the store is full: {0}")]
    Full(String),
    /// A row holds what no version of this program wrote.
    #[error("a stored row cannot be read: {0}")]
    Corrupt(String),
}
