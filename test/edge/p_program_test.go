package edge

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	_ "modernc.org/sqlite"
)

// P. What editors and programs do. Each is done while the device runs, and
// while nothing does.

func running(t *testing.T, disks []disk, files []string, do func(t *testing.T, w *world, a, b *device, round int, look func())) {
	on(t, disks, func(t *testing.T, w *world) {
		a, b := w.pair(files...)
		stop := a.run()
		a.rest()
		do(t, w, a, b, 1, a.rest)
		stop()
		do(t, w, a, b, 2, func() { a.sync() })
	})
}

func TestCase156VimAndEmacs(t *testing.T) {
	running(t, exact, []string{"letter.txt"}, func(t *testing.T, w *world, a, b *device, round int, look func()) {
		content := strings.Repeat(fmt.Sprint("round ", round, "\n"), round)
		// vim: swap file, a probe, backup by rename, new file, backup removed.
		a.write(".letter.txt.swp", "swap")
		a.write("4913", "")
		a.rm("4913")
		a.mv("letter.txt", "letter.txt~")
		a.write("letter.txt", content)
		a.rm("letter.txt~")
		a.rm(".letter.txt.swp")
		look()
		// Emacs: a copy as backup, written in place.
		a.write("#letter.txt#", "autosave")
		a.link("user@host.1", ".#letter.txt")
		a.write("letter.txt~", content)
		a.write("letter.txt", content+"and by Emacs")
		a.rm("#letter.txt#")
		a.rm(".#letter.txt")
		look()
		b.sync()
		w.forget("swap")
		w.forget("autosave")
		w.settle()
		if got := a.files(); len(got) != 2 || b.read("letter.txt") != content+"and by Emacs" || len(a.copies()) > 0 {
			t.Errorf("round %d: %q", round, got)
		}
		a.rm("letter.txt~")
		look()
		w.settle()
	})
}

func TestCase157Office(t *testing.T) {
	running(t, exact, []string{"report.docx"}, func(t *testing.T, w *world, a, b *device, round int, look func()) {
		content := fmt.Sprint("saved in round ", round, strings.Repeat("!", round))
		a.write("~$report.docx", "lock")
		a.write("~WRD0001.tmp", content)
		a.mv("report.docx", "~WRL0002.tmp")
		a.mv("~WRD0001.tmp", "report.docx")
		a.rm("~WRL0002.tmp")
		a.rm("~$report.docx")
		look()
		w.forget("lock")
		w.settle()
		if got := b.files(); len(got) != 1 || got[0] != "report.docx="+content {
			t.Errorf("round %d: %q", round, got)
		}
	})
}

func TestCase158SafeSaveByExchange(t *testing.T) {
	running(t, real, []string{"doc.pages", "bundle.app/Contents/Info"}, func(t *testing.T, w *world, a, b *device, round int, look func()) {
		content := fmt.Sprint("saved in round ", round, strings.Repeat("!", round))
		a.write("(A Document Being Saved)/doc.pages", content)
		from := a.path("(A Document Being Saved)/doc.pages")
		must(t, unix.Renameat2(unix.AT_FDCWD, from, unix.AT_FDCWD, a.path("doc.pages"), unix.RENAME_EXCHANGE))
		a.rm("(A Document Being Saved)")
		a.write("new.app/Contents/Info", content)
		must(t, unix.Renameat2(unix.AT_FDCWD, a.path("new.app"), unix.AT_FDCWD, a.path("bundle.app"), unix.RENAME_EXCHANGE))
		a.rm("new.app")
		look()
		w.settle()
		if got, want := strings.Join(b.files(), " "), "bundle.app/Contents/Info="+content+" doc.pages="+content; got != want {
			t.Errorf("round %d: %q", round, got)
		}
	})
}

func TestCase159DownloadOfABrowser(t *testing.T) {
	running(t, exact, []string{"kept"}, func(t *testing.T, w *world, a, b *device, round int, look func()) {
		name := fmt.Sprint("film ", round, ".iso")
		f, err := os.Create(a.path(name + ".part"))
		must(t, err)
		a.write(name, "") // the place is taken first
		for i := range 20 {
			fmt.Fprintf(f, "part %d of %s\n", i, name)
			if i == 10 && round == 1 {
				b.sync()
			}
		}
		must(t, f.Close())
		a.mv(name+".part", name)
		look()
		w.settle()
		if b.has(name+".part") || !strings.HasSuffix(b.read(name), "part 19 of "+name+"\n") || len(b.copies()) > 0 {
			t.Errorf("round %d: %.200q", round, b.files())
		}
	})
}

// A database that is being written is whole on its own device, and whole
// elsewhere when its program has closed it.
func TestCase160DatabaseThatIsBeingWritten(t *testing.T) {
	long(t)
	running(t, real, []string{"kept"}, func(t *testing.T, w *world, a, b *device, round int, look func()) {
		name := fmt.Sprint("data", round, ".db")
		rows := func(d *device) (n int) {
			db, err := sql.Open("sqlite", "file:"+d.path(name)+"?mode=rw")
			must(t, err)
			defer db.Close()
			var ok string
			must(t, db.QueryRow("PRAGMA integrity_check").Scan(&ok))
			if ok != "ok" {
				t.Errorf("%s: %s", d.name, ok)
			}
			must(t, db.QueryRow("SELECT count(*) FROM t").Scan(&n))
			return n
		}
		db, err := sql.Open("sqlite", "file:"+a.path(name)+"?_pragma=journal_mode(WAL)")
		must(t, err)
		_, err = db.Exec("CREATE TABLE t(x)")
		must(t, err)
		for i := range 200 {
			_, err = db.Exec("INSERT INTO t VALUES(?)", strings.Repeat("x", i))
			must(t, err)
		}
		must(t, db.Close())
		look()
		w.settle()
		if n := rows(a); n != 200 {
			t.Errorf("%d rows where it was written", n)
		}
		if n := rows(b); n != 200 {
			t.Errorf("%d rows elsewhere", n)
		}
		w.settle()
		for _, d := range w.devices {
			if l, _ := filepath.Glob(d.path("*-wal")); len(l) > 0 {
				t.Errorf("%s has %q", d.name, l)
			}
		}
	})
}
