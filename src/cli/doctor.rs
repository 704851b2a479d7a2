//! `sandtest doctor`.

/// x
#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}
/// x
pub fn run(_: &DoctorArgs) -> u8 {
    0
}
