package region

import (
	"signet/core/key"
	"signet/core/ring"
	"signet/core/ring/ringtest"
)

// newMember makes another member, who has no role anywhere.
func (w *world) newMember(name string, by *member) *member {
	w.T.Helper()
	m, k := w.device(name), ringtest.Key("invitation of "+name)
	f := &Founder{Device: m.rec, Signer: m.me.Signer}
	rec, r, err := f.Genesis(w.State.Org(), w.officerInvites(by, k), k)
	w.Must(err)
	w.Must(w.Put(rec.Head, rec.Blob))
	m.belong(r)
	m.Region = New(w.j.ID, w.Directory(), &m.me, func() *Keys { return m.keys })
	return m
}

// officerInvites is an invitation by a device whose keys are not ringtest's.
func (w *world) officerInvites(by *member, claim *key.Private) *ring.Invitation {
	w.T.Helper()
	i := &ring.Invitation{Org: w.State.Org(), Claim: ring.ClaimOf(claim.Public()), Role: ring.RoleMember, Expiry: w.Now + 1_000_000, Issuer: by.me.Device}
	w.Must(i.Sign(by.me.Signer))
	i, err := ring.ParseInvitation(i.Bytes())
	w.Must(err)
	return i
}
