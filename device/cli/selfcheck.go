package cli

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"signet/core/key"
	"signet/core/seal"
	"signet/device/cli/control"
	"signet/device/keystore"
)

// A check is one thing that self-check looks at.
type check struct {
	Name   string `json:"name"`
	OK     bool   `json:"ok"`
	Detail string `json:"detail,omitempty"`
}

// selfCheck tries what everything stands on: both signatures, the envelope
// cipher, the home, the keys in it.
func (a *app) selfCheck() error {
	checks := []check{
		checked("signatures", checkSignatures()),
		checked("envelopes", checkEnvelopes()),
	}
	switch err := a.dir.Check(); {
	case errors.Is(err, fs.ErrNotExist):
		checks = append(checks, check{"home", true, "there is none yet"})
	default:
		checks = append(checks, checked("home", err))
	}
	orgs, err := a.dir.Organisations()
	if err != nil {
		return err
	}
	for _, o := range orgs {
		k, err := keystore.Load(a.dir.KeyFile(o), o)
		c := checked("keys of "+o.String(), err)
		if err == nil {
			c.Detail = "rest in: " + k.Where().String()
		}
		checks = append(checks, c)
	}
	failed := 0
	var rows [][]string
	for _, c := range checks {
		word := "ok"
		if !c.OK {
			failed++
			word = "FAILED"
		}
		rows = append(rows, []string{c.Name, word, c.Detail})
	}
	if a.json {
		err = writeJSON(a.stdout, checks)
	} else {
		err = table(a.stdout, []string{"CHECK", "RESULT", "DETAIL"}, rows)
	}
	if err == nil && failed > 0 {
		err = &control.Fault{Kind: "self_check", Code: control.Failed, Message: fmt.Sprintf("%d of %d checks failed", failed, len(checks))}
	}
	return err
}

func checked(name string, err error) check {
	if err != nil {
		return check{name, false, err.Error()}
	}
	return check{name, true, ""}
}

// checkSignatures signs and verifies under a label of each kind, and sees a
// changed body refused.
func checkSignatures() error {
	p, err := key.Generate()
	if err != nil {
		return err
	}
	for _, l := range []key.Label{key.LabelEntry, key.LabelStatement} {
		sig, err := p.Sign(l, []byte("self-check"))
		if err != nil {
			return err
		}
		if err := p.Public().Verify(l, []byte("self-check"), sig); err != nil {
			return err
		}
		if p.Public().Verify(l, []byte("self-chexk"), sig) == nil {
			return errors.New("a signature verifies for other bytes")
		}
	}
	return nil
}

// checkEnvelopes seals a seed to a new device and opens it.
func checkEnvelopes() error {
	device, err := seal.New()
	if err != nil {
		return err
	}
	seed, err := seal.NewSeed(nil)
	if err != nil {
		return err
	}
	secret := seal.NewSecret()
	c := seal.Context{OwnerKind: seal.OfRing, Generation: 1, RecipientKind: seal.ToDevice}
	rand.Read(c.Owner[:])
	sealed, err := seal.SealEnvelope(c, device.Public(), seed, secret)
	if err != nil {
		return err
	}
	opened, _, err := seal.OpenEnvelope(c, device, sealed, seed.Public(), secret.Commit(seal.OfRing))
	if err != nil {
		return err
	}
	a, b := opened.Public(), seed.Public()
	if !bytes.Equal(a[:], b[:]) {
		return errors.New("an envelope opens to another key")
	}
	return nil
}
