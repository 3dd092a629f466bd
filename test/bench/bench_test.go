package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The bench runs, with input that is too small to measure anything, so that
// it does not rot: against itself alone, and rsync where there is one.
func TestBenchRunsEveryWorkload(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "signet/cmd/signet", "signet/cmd/signet-server").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	o := options{size: quick, reps: 1, peers: []peer{signetPeer{bin}}, work: t.TempDir(), say: t.Logf}
	if _, err := exec.LookPath("rsync"); err == nil {
		o.peers = append(o.peers, rsync{})
	}
	rows, err := measure(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, w := range workloads {
		for _, p := range o.peers {
			n := 0
			for _, r := range rows {
				if r.Workload == w.id && r.Peer == p.name() {
					n = len(r.Seconds)
				}
			}
			if want := map[bool]int{true: quick.Saves, false: 1}[w.id == "W5"]; n != want {
				t.Errorf("%s with %s: %d times, want %d", w.id, p.name(), n, want)
			}
		}
	}
	var b bytes.Buffer
	report{Rows: rows}.print(&b)
	for _, w := range workloads {
		if !strings.Contains(b.String(), "| "+w.id+" ") {
			t.Errorf("the table has no %s:\n%s", w.id, b.String())
		}
	}
}

func TestRatiosAreOfMediansAndTheTail(t *testing.T) {
	rows := merge(nil, []row{
		{Workload: "W5", Peer: "signet", Seconds: []float64{0.02, 0.01, 0.09}, Peak: map[string]int64{}},
		{Workload: "W5", Peer: "syncthing", Seconds: []float64{0.04, 0.10, 0.10}, Peak: map[string]int64{}},
		{Workload: "W1", Peer: "signet", Seconds: []float64{9}, Peak: map[string]int64{}},
		{Workload: "W1", Peer: "syncthing", Seconds: []float64{10}, Peak: map[string]int64{}},
	})
	var b bytes.Buffer
	report{Rows: rows}.print(&b)
	for _, want := range []string{
		"| 0.20 x, p95 0.90 x |", "| 0.90 x |",
		"* W5: 0.20 and p95 0.90 x syncthing; bar 0.5 and 0.5: NOT reached.",
		"* W1: 0.90 x syncthing; bar 0.7: NOT reached.",
	} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}
