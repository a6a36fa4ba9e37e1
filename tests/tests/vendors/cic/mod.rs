//! A pair of PureConnect CIC servers, watched over as the vendor's backup server does it. Rule by rule as far as real processes and a
//! real network have a part in it; the vendor's times are scaled down within their ranges, or replaced by `fast`.

mod site;

mod backup;
mod connections;
mod module;
mod operators;
