//! A network together with the config that shapes it.

/// A network and its config.
#[derive(Debug, Clone)]
pub struct Component<M, C> {
    /// The network.
    pub network: M,
    /// Its `config.json`.
    pub config: C,
}
