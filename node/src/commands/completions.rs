//! `datnode completions` and the manual pages: made from the grammar of the command line.

use std::path::Path;

use clap_complete::{Generator, generate, shells};
use clap_complete_nushell::Nushell;
use clap_mangen::Man;

use crate::cli::output::Out;
use crate::cli::{Shell, command};
use crate::error::Error;

/// Prints the script of a shell.
pub(super) fn run(shell: Shell, out: &Out) -> Result<(), Error> {
    let script = match shell {
        Shell::Bash => script(shells::Bash),
        Shell::Zsh => script(shells::Zsh),
        Shell::Fish => script(shells::Fish),
        Shell::Powershell => script(shells::PowerShell),
        Shell::Nushell => script(Nushell),
    };
    out.data(&script)
}

fn script(generator: impl Generator) -> Vec<u8> {
    let mut text = Vec::new();
    generate(generator, &mut command(), "datnode", &mut text);
    text
}

/// Writes `datnode.1` and one page for each command into a folder.
pub(super) fn manual(folder: &Path, out: &Out) -> Result<(), Error> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io("create", folder, &error))?;
    let all = command();
    let below = all.get_subcommands().filter(|one| !one.is_hide_set()).cloned();
    let pages: Vec<_> = below
        .map(|one| {
            let name = format!("datnode-{}", one.get_name());
            one.name(name.clone()).display_name(name)
        })
        .collect();
    let count = pages.len() + 1;
    for page in pages.into_iter().chain([all]) {
        let path = folder.join(format!("{}.1", page.get_name()));
        let mut text = Vec::new();
        let made = Man::new(page).render(&mut text).and_then(|()| std::fs::write(&path, text));
        made.map_err(|error| Error::io("write", &path, &error))?;
    }
    out.say(format_args!("{count} pages"));
    Ok(())
}
