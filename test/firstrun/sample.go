//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
)

// texts are files that a person can read. Names and words are such that no
// search finds one by chance.
var texts = map[string]string{
	"Read me first.txt":                    "This folder is on two devices now.\nWhat you change on one of them is changed on the other.\n",
	"letters/Anna, 3 March.txt":            "Dear Anna,\nthe boat is repaired at last, and the harbour master has found us a mooring.\n",
	"letters/Landlord.txt":                 "Dear Mrs Okonkwo,\nthe heating in the back room has been cold since Tuesday evening.\n",
	"letters/To the tax office.txt":        "Reference 4471-88-2026\nPlease find attached the receipts for the workshop.\n",
	"letters/Käsekuchen für Jürgen.txt":    "Zutaten: 750 g Magerquark, vier Eier, eine unbehandelte Zitrone.\n",
	"money/Budget 2026.csv":                "month,rent,food,savings\nJanuary,910,388,250\nFebruary,910,402,240\nMarch,910,371,275\n",
	"money/Invoices/Invoice 2026-017.txt":  "Invoice 2026-017: two oak tables, delivered in Maasdam Street, 1,840.00\n",
	"money/Invoices/Invoice 2026-018.txt":  "Invoice 2026-018: repairing a staircase, fourteen steps, 2,310.00\n",
	"money/Insurance policy.txt":           "Policy HX-20991-B: household contents, insured sum 64,000\n",
	"plans/Workshop/Table, oak.md":         "# Table\n\nTop 220 x 95 cm, legs tapered from 8 to 5 cm, oiled twice.\n",
	"plans/Workshop/Cutting list.csv":      "part,count,length,width\nleg,4,72,8\nrail,4,88,11\ntop board,6,220,16\n",
	"plans/Summer journey.md":              "# Summer\n\nFerry to Harwich on the 11th, then by bicycle along the coast.\n",
	"plans/Passwords are not kept here.md": "They are in the password manager. This is only a reminder.\n",
	"plans/empty page.txt":                 "",
}

// pictures are files of bytes that do not compress, by size.
var pictures = map[string]int{
	"photos/Harbour at dusk.jpg":        148_211,
	"photos/Oak table, finished.jpg":    96_004,
	"photos/2025/Grandmother at 90.jpg": 203_777,
	"photos/2025/First snow.jpg":        61_350,
	"photos/2025/Ferry.jpg":             88_120,
	"music/Evening song.ogg":            310_566,
}

// sample makes a folder of 20 files.
func sample(dir string) error {
	write := func(name string, data []byte) error {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return os.WriteFile(path, data, 0o644)
	}
	for name, text := range texts {
		if text != "" {
			// Some length, so that there is something to look for.
			text += strings.Repeat("- "+filepath.Base(name)+", a line of notes.\n", 40)
		}
		if err := write(name, []byte(text)); err != nil {
			return err
		}
	}
	for name, size := range pictures {
		if err := write(name, noise(name, size)); err != nil {
			return err
		}
	}
	return nil
}

// noise is the same bytes for the same name.
func noise(name string, size int) []byte {
	var seed [32]byte
	copy(seed[:], fmt.Sprintf("%s %d", name, size))
	b := make([]byte, size)
	rand.NewChaCha8(seed).Read(b)
	return b
}
