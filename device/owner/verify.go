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
	Deep       bool            `json:"deep"`  // and all were fetched, and all files read
	Files      int64           `json:"files"` // of this device's folders that have the bytes that were hashed
	FileBytes  int64           `json:"file_bytes"`
	Damage     []VerifyTrouble `json:"damage"`
	Rot        []VerifyFile    `json:"damaged_files"`
	Fault      *control.Fault  `json:"fault,omitempty"`
}

// A VerifyTrouble is an object that the service does not have as it should.
type VerifyTrouble struct {
	Region string   `json:"region"`
	Object string   `json:"object"`
	Kind   string   `json:"kind"`  // object, missing_content
	Given  bool     `json:"given"` // it was missing, and this device sent it again
	Paths  []string `json:"paths"` // that need it now; empty: older versions, or none, do
}

// A VerifyFile is a file on this device's disk that is not as it was hashed, though
// nothing says that it was changed.
type VerifyFile struct {
	Region  string `json:"region"`
	Path    string `json:"path"`
	PathB64 []byte `json:"path_b64,omitempty"`
	Kind    string `json:"kind"` // damaged, unreadable
	Message string `json:"message,omitempty"`
}

// verify re-checks all that this device knows; deep, also what the service stores and
// the disk has.
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
	out := &Verified{Statements: r.Statements, Entries: r.Entries, Regions: r.Regions, Objects: r.Objects, Bytes: r.Bytes, Deep: p.Deep, Damage: []VerifyTrouble{}, Rot: []VerifyFile{}}
	if p.Deep {
		if err := w.reread(ctx, out, ui); err != nil {
			return nil, err
		}
	}
	gone, changed := 0, 0
	for _, f := range r.Faults {
		t := VerifyTrouble{Region: w.Engine.NameOf(f.Region), Object: f.Object.String(), Kind: "object", Paths: []string{}}
		switch {
		case f.Given:
			t.Kind, t.Given = "missing_content", true
		case f.Gone:
			t.Kind = "missing_content"
			gone++
		default:
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
			Hint: "signet-server check --repair, then signet verify --deep on each device: one sends what it kept, and its next sync the files that it has; an export has them too"}
	case len(out.Rot) > 0:
		out.Fault = &control.Fault{Kind: "damaged_file", Message: fmt.Sprintf("%d files on this device are not as they were", len(out.Rot)), Code: control.Attention,
			Hint: "look after the disk; signet get PATH FILE writes what the region has, to put in the file's place"}
	}
	return out, nil
}

// reread reads the files of this device's folders.
func (w *Work) reread(ctx context.Context, out *Verified, ui control.UI) error {
	r, err := w.Engine.Reread(ctx, pacer(ui, "reading file"))
	if err != nil {
		return err
	}
	out.Files, out.FileBytes = r.Files, r.Bytes
	for _, f := range r.Faults {
		v := VerifyFile{Region: w.Engine.NameOf(f.Region), Kind: "damaged"}
		v.Path, v.PathB64 = control.Name(f.Path)
		if f.Err != nil {
			v.Kind, v.Message = "unreadable", f.Err.Error()
		}
		out.Rot = append(out.Rot, v)
	}
	return nil
}
