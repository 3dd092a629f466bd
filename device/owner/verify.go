package owner

import (
	"context"
	"fmt"

	"signet/device/cli/control"
)

// VerifyParams are those of verify without an export.
type VerifyParams struct {
	Deep bool `json:"deep"`
}

// Verified says what was verified again of all that this device knows.
type Verified struct {
	Statements uint64          `json:"statements"`
	Entries    uint64          `json:"entries"`
	Regions    int             `json:"regions"`
	Objects    int64           `json:"objects"` // that the service has as their names promise
	Bytes      int64           `json:"bytes"`
	Deep       bool            `json:"deep"` // and all were fetched
	Damage     []VerifyTrouble `json:"damage"`
	Fault      *control.Fault  `json:"fault,omitempty"`
}

// A VerifyTrouble is an object that the service does not have as it should.
type VerifyTrouble struct {
	Region string   `json:"region"`
	Object string   `json:"object"`
	Kind   string   `json:"kind"`  // object, missing_content
	Paths  []string `json:"paths"` // that need it now; empty: older versions, or none, do
}

// verify re-checks all that this device knows; deep, also what the service stores.
func (w *Work) verify(ctx context.Context, p VerifyParams, ui control.UI) (any, error) {
	if p.Deep {
		if err := w.Engine.Discover(ctx); err != nil {
			return nil, err
		}
	}
	r, err := w.Engine.Recheck(ctx, p.Deep, pacer(ui, "verifying object"))
	if err != nil {
		return nil, err
	}
	out := &Verified{Statements: r.Statements, Entries: r.Entries, Regions: r.Regions, Objects: r.Objects, Bytes: r.Bytes, Deep: p.Deep, Damage: []VerifyTrouble{}}
	gone, changed := 0, 0
	for _, f := range r.Faults {
		t := VerifyTrouble{Region: w.Engine.NameOf(f.Region), Object: f.Object.String(), Kind: "object", Paths: []string{}}
		if f.Gone {
			t.Kind = "missing_content"
			gone++
		} else {
			changed++
		}
		for _, p := range f.Paths {
			text, _ := control.Name(p)
			t.Paths = append(t.Paths, text)
		}
		out.Damage = append(out.Damage, t)
	}
	switch {
	case changed > 0:
		say := fmt.Sprintf("the service has other bytes for %d objects", changed)
		out.Fault = &control.Fault{Kind: "object", Message: say, Code: control.NotVerified, Evidence: w.evidence("object", say, nil),
			Hint: "do not trust what the service says until you know why; a device that has the file sends it again after a change"}
	case gone > 0:
		out.Fault = &control.Fault{Kind: "missing_content", Message: fmt.Sprintf("the service lacks %d objects", gone), Code: control.Attention,
			Hint: "signet-server check says why; an export, or a device that has the file, has the content"}
	}
	return out, nil
}
