//! What lies on a backup target: names, records, packs, manifests; pure codecs
