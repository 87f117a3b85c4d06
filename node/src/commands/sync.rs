//! `datnode sync`: keep a folder and its drive in step, whoever writes it.

use super::clone::{How, again};
use super::context::{folder_of, read_key};
use super::share;
use crate::address::VersionSpec;
use crate::cli::output::Out;
use crate::cli::{Filter, Share, SyncArgs};
use crate::dirs::Dirs;
use crate::error::Error;
use crate::keys::DriveKeys;

pub(super) async fn run(args: SyncArgs, out: &Out) -> Result<(), Error> {
    let SyncArgs { folder, filter, reuse, network } = args;
    let folder = folder_of(&folder)?;
    let key = read_key(&folder)?.ok_or_else(|| Error::not_drive(&folder))?;
    if DriveKeys::load(&Dirs::open()?, &key)?.is_none() {
        if filter != Filter::default() {
            let message = "this drive is not written here, so nothing of its folder is taken in";
            return Err(Error::usage(message).hint("datnode exclude says what is not fetched"));
        }
        let how = How { force: false, live: true, reuse };
        return again(&folder, VersionSpec::Latest, how, network, out).await;
    }
    let share = Share {
        folder,
        message: String::new(),
        name: None,
        filter,
        no_watch: false,
        no_import: false,
        in_place: false,
        dry_run: false,
        show_ignored: false,
        ticket: false,
        qr: false,
        copy: false,
        network,
    };
    share::run(share, out).await
}
