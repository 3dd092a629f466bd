//go:build !grants

package journal

// granting is false in programs: an entry of type Grant is one of an unknown
// type, refused by the service and without effect on devices. What a removed
// device granted before others learned of its removal cannot be undone yet, so
// that its accomplice would read on (spec/journal.md, Grants). The rules around
// it are there, and what a reader may not do is tested with the tag grants.
const granting = false
