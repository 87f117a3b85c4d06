//! What one peer sends, to harm us or at a bad moment: it costs that peer its stream at most, and us next to nothing.

mod answers;
mod floods;
mod introductions;
mod leaves;
mod limits;
mod states;
mod strangers;
mod victim;
mod weight;
