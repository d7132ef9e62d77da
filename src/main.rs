//! Weir: one binary, one subcommand for each thing it does.

// A binary has no outside: `pub` says that other files use it.
#![allow(unreachable_pub)]

mod admin;
mod cli;
mod config;
mod console;
mod demo;
mod events;
mod forecast;
mod load;
mod logs;
mod plot;
mod policy;
mod roles;
mod simulate;
mod token;

fn main() -> std::process::ExitCode {
    match cli::run() {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("weir: {}", transport::causes::one_line(error.as_ref()));
            std::process::ExitCode::FAILURE
        }
    }
}
