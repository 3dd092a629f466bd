//go:build grants

package journal_test

import (
	"slices"
	"testing"

	"signet"
	"signet/core/journal"
	"signet/core/ring"
)

func TestGrantVectors(t *testing.T) { replayVectors(t, "journal-grant") }

func writeMore(t *testing.T) {
	r := begin(t)
	r.format = "journal-grant"
	writeGrants(r)
}

// writeGrants gives a member's ring, of the device m, one role after another.
func writeGrants(r *recorder) {
	owner, _ := r.World.State.Owner()
	r.tell(r.T.(*testing.T), "ok-policy", "ok-revoke", "ok-allow-connector", "ok-genesis-invited")
	m, _ := r.World.State.RingOf(r.World.ID("m"))
	grant := func(name, about, expect, by string, to signet.RingID, role journal.Role, spoil func(b []byte) []byte) {
		d := r.Grant(by, to, role)
		if spoil != nil {
			d.Body = spoil(d.Body)
		}
		r.bad(name, about, expect, r.Sign(d, by))
	}
	ok := func(name, about string, role journal.Role) {
		r.ok(name, about, "ok", r.Sign(r.Grant("a", m, role), "a"))
	}
	member := func(name, about string, typ journal.Type) {
		r.bad(name, about, "invalid: not-allowed", r.Sign(r.Draft(typ, "m"), "m"))
	}
	reader, writer, manager := journal.Reader, journal.Writer, journal.Manager
	grant("grant-no-body", "a grant of nothing", "invalid: malformed", "a", m, reader, func([]byte) []byte { return nil })
	grant("grant-trailing-byte", "a byte after the grant", "invalid: malformed", "a", m, reader, func(b []byte) []byte { return append(b, 0) })
	grant("grant-unknown-role", "a grant of role 4", "invalid: malformed", "a", m, 4, nil)
	grant("grant-unknown-history", "a grant with history policy 1", "invalid: malformed", "a", m, reader, func(b []byte) []byte { b[33] = 1; return b })
	grant("grant-to-nobody", "a grant to a ring that is not there", "void", "a", signet.RingID{1}, reader, nil)
	grant("grant-without-manager", "the only manager makes itself a writer", "void", "a", owner, writer, nil)
	grant("grant-to-oneself", "a grant by a ring without a role, to itself", "invalid: not-allowed", "m", m, manager, nil)
	r.bad("rekey-to-stranger", "a rekey to a ring without a role too", "void", r.Sign(r.RekeyTo("a", []ring.Recipient{
		{Kind: ring.ToRing, ID: owner, Generation: 2}, {Kind: ring.ToRing, ID: m, Generation: 1}}), "a"))

	ok("ok-grant", "another ring is to read", reader)
	grant("grant-twice", "a grant of the role that the ring has", "void", "a", m, reader, nil)
	grant("grant-by-reader", "a grant by a reader, to itself", "invalid: not-allowed", "m", m, writer, nil)
	r.bad("rekey-without-reader", "a rekey to the owner's ring alone", "void", r.Sign(r.RekeyTo("a", []ring.Recipient{
		{Kind: ring.ToRing, ID: owner, Generation: 2}}), "a"))
	r.ok("ok-rekey-for-two", "a rekey to both rings", "ok", r.Sign(r.Rekey("a"), "a"))
	member("reader-content", "content by a reader", journal.Content)
	member("reader-snapshot", "a snapshot by a reader", journal.Snapshot)
	member("reader-marker", "a marker by a reader", journal.Marker)
	r.bad("reader-rekey", "a rekey by a reader", "invalid: not-allowed", r.Sign(r.Rekey("m"), "m"))
	list := r.State.Current().Envelopes
	mine := list[slices.IndexFunc(list, func(e ring.Envelope) bool { return signet.RingID(e.ID) == m })]
	r.ok("ok-complaint-reader", "a complaint by a reader", "ok", r.Sign(r.Complain("m", mine), "m"))

	ok("ok-grant-writer", "the reader is to write too", writer)
	grant("grant-by-writer", "a grant by a writer, to itself", "invalid: not-allowed", "m", m, manager, nil)
	r.ok("ok-content-granted", "content by the writer", "ok", r.Sign(r.Draft(journal.Content, "m"), "m"))
	before := r.Sign(r.Draft(journal.Content, "m"), "m")
	ok("ok-grant-less", "the writer is to read and no more", reader)
	r.bad("reader-content-before", "content that was signed when its writer was one", "invalid: not-allowed", before)
	ok("ok-grant-manager", "the reader is to manage", manager)
	r.bad("ok-grant-by-manager", "the owner's ring is to read and no more, says the other manager", "ok", r.Sign(r.Grant("m", owner, reader), "m"))
}
