//go:build linux

package script

import (
	"crypto/rand"
	"path/filepath"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"signet"
	"signet/service/blob"
	"signet/service/meta"
)

// abandonCmd leaves objects in the first region of a service that does not run, as
// a device did that never came back: abandon DATA COUNT SIZE DAYS, so long ago.
func abandonCmd(ts *testscript.TestScript, neg bool, args []string) {
	want(ts, neg, args, 4, 4, "abandon DATA COUNT SIZE DAYS")
	var n [3]int
	for i := range n {
		var err error
		n[i], err = strconv.Atoi(args[i+1])
		ts.Check(err)
	}
	db, err := meta.Open(filepath.Join(ts.MkAbs(args[0]), "signet.db"))
	ts.Check(err)
	defer db.Close()
	logs, err := db.Logs()
	ts.Check(err)
	var region meta.Log
	for _, l := range logs {
		if l.ID.Kind == signet.RegionLog {
			region = l
			break
		}
	}
	known, err := db.Marks()
	ts.Check(err)
	store, err := blob.Open(ts.MkAbs(args[0]), known, func(blob.Found) error { return nil })
	ts.Check(err)
	defer store.Close()
	objects := make([]blob.Object, n[0])
	for i := range objects {
		b := make([]byte, n[1])
		rand.Read(b)
		objects[i] = blob.Name(b)
	}
	places, err := store.Put(region.ID.ID, objects)
	ts.Check(err)
	marks, err := store.Sync()
	ts.Check(err)
	added := time.Now().Add(-time.Duration(n[2]) * 24 * time.Hour).UnixMilli()
	ts.Check(db.Update(func(tx *meta.Tx) error {
		var rows []meta.Object
		for i, o := range objects {
			rows = append(rows, meta.Object{ID: o.ID, Place: places[i], Added: added})
		}
		if err := tx.PutObjects(region.Num, rows); err != nil {
			return err
		}
		return tx.Marks(marks)
	}))
}
