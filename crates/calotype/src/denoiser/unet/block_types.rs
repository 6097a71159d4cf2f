//! The kinds of blocks that `unet/config.json` names.

use crate::named::{named_enum, serde_by_name};

named_enum! {
    /// A level on the way down.
    pub enum DownBlockType: "down_block_types" {
        /// Residual blocks, each followed by a transformer.
        CrossAttention = "CrossAttnDownBlock2D",
        /// Residual blocks alone.
        Residual = "DownBlock2D",
    }
}

named_enum! {
    /// A level on the way up.
    pub enum UpBlockType: "up_block_types" {
        /// Residual blocks, each followed by a transformer.
        CrossAttention = "CrossAttnUpBlock2D",
        /// Residual blocks alone.
        Residual = "UpBlock2D",
    }
}

named_enum! {
    /// What is at the coarsest level between the way down and the way up, if there is anything.
    pub enum MidBlockType: "mid_block_type, unless null" {
        /// Two residual blocks with a transformer between them.
        CrossAttention = "UNetMidBlock2DCrossAttn",
        /// One residual block.
        Residual = "UNetMidBlock2D",
    }
}

serde_by_name!(DownBlockType, UpBlockType, MidBlockType);

impl DownBlockType {
    /// With cross-attention or without.
    pub fn new(attends: bool) -> Self {
        if attends { Self::CrossAttention } else { Self::Residual }
    }

    /// Whether it has cross-attention.
    pub fn attends(self) -> bool {
        self == Self::CrossAttention
    }
}

impl UpBlockType {
    /// With cross-attention or without.
    pub fn new(attends: bool) -> Self {
        if attends { Self::CrossAttention } else { Self::Residual }
    }

    /// Whether it has cross-attention.
    pub fn attends(self) -> bool {
        self == Self::CrossAttention
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json, to_value};

    use crate::denoiser::UnetConfig;

    #[test]
    fn files_have_the_names_of_diffusers() {
        let config = to_value(UnetConfig::default()).unwrap();
        let [with, without] = ["CrossAttnDownBlock2D", "DownBlock2D"];
        assert_eq!(config["down_block_types"], json!([with, with, with, without]));
        let [with, without] = ["CrossAttnUpBlock2D", "UpBlock2D"];
        assert_eq!(config["up_block_types"], json!([without, with, with, with]));
        assert_eq!(config["mid_block_type"], "UNetMidBlock2DCrossAttn");
        assert_eq!(from_value::<UnetConfig>(config).unwrap(), UnetConfig::default());
        let none: UnetConfig = from_value(json!({ "mid_block_type": null })).unwrap();
        assert_eq!(
            (none.mid_block_type, to_value(&none).unwrap()["mid_block_type"].clone()),
            (None, json!(null))
        );
    }

    #[test]
    fn other_blocks_are_refused_with_their_key_and_the_list() {
        for (key, value, list) in [
            ("down_block_types", json!(["AttnDownBlock2D"]), "CrossAttnDownBlock2D, DownBlock2D"),
            ("up_block_types", json!(["AttnUpBlock2D"]), "CrossAttnUpBlock2D, UpBlock2D"),
            (
                "mid_block_type",
                json!("UNetMidBlock2DSimpleCrossAttn"),
                "UNetMidBlock2DCrossAttn, UNetMidBlock2D",
            ),
        ] {
            let error = from_value::<UnetConfig>(json!({ key: value })).unwrap_err().to_string();
            let got = value.as_array().map_or(&value, |list| &list[0]).as_str().unwrap();
            for part in [key, list, got] {
                assert!(error.contains(part), "{error}");
            }
        }
    }
}
