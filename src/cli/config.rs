//! `folio config`: what is in force, whether it is right, what there is.

use clap::Subcommand;
use folio::config::{Loaded, reference, sample, show};

use super::{Failure, say, settled};

#[derive(Subcommand)]
pub enum Config {
    /// Shows every setting with its value, where it comes from and what it means. Secrets are hidden.
    Show,
    /// Says everything that is wrong with the settings, without starting anything.
    Check,
    /// Prints a file of settings to start from.
    Sample {
        /// Prints the reference of all settings in Markdown instead.
        #[arg(long)]
        markdown: bool,
    },
}

impl Config {
    pub fn run(self, loaded: impl Fn() -> Loaded) -> Result<(), Failure> {
        match self {
            Config::Show => {
                let loaded = loaded();
                say(&show(&loaded))?;
                settled(&loaded).map(drop)
            }
            Config::Check => {
                settled(&loaded())?;
                say("The settings are right.\n")
            }
            Config::Sample { markdown } => say(&if markdown { reference() } else { sample() }),
        }
    }
}
