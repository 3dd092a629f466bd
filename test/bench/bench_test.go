package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// programs builds both programs and returns the folder that they are in.
func programs(t *testing.T) string {
	t.Helper()
	bin := t.TempDir()
	out, err := exec.Command("go", "build", "-o", bin+string(filepath.Separator), "signet/cmd/signet", "signet/cmd/signet-server").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return bin
}

// The bench runs, with input that is too small to measure anything, so that
// it does not rot: against itself alone, and rsync where there is one.
func TestBenchRunsEveryWorkload(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	bin := programs(t)
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
			if _, keeps := p.(keeper); w.on == alone && !keeps {
				continue
			}
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

// W9 is measured by itself.
func TestBenchShowsHowCostsGrow(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	bin := programs(t)
	o := options{size: quick, work: t.TempDir(), say: t.Logf}
	var list []growth
	for _, n := range o.size.trees() {
		g, err := grow(t.Context(), o, bin, n)
		if err != nil {
			t.Fatal(err)
		}
		for _, what := range growSeconds {
			if g.Seconds[what] <= 0 {
				t.Errorf("%d files: %s was not measured", n, what)
			}
		}
		for _, what := range growBytes {
			if g.Bytes[what] <= 0 && what != growMoved { // that is of a namespace of the bench's own
				t.Errorf("%d files: %s was not measured", n, what)
			}
		}
		list = append(list, g)
	}
	var b bytes.Buffer
	printGrowth(&b, list)
	if lines := strings.Count(b.String(), "\n"); lines != 2+len(growSeconds)+len(growBytes) {
		t.Errorf("a table of %d lines:\n%s", lines, b.String())
	}
}

func TestSlopeIsThePowerOfTheLastStep(t *testing.T) {
	seconds := func(s float64) map[string]float64 { return map[string]float64{growFirst: s} }
	var b bytes.Buffer
	printGrowth(&b, []growth{{Files: 100, Seconds: seconds(1)}, {Files: 1000, Seconds: seconds(2)}, {Files: 10_000, Seconds: seconds(20)}})
	if want := "| 1.00 s | 2.00 s | 20.00 s | 1.00 |"; !strings.Contains(b.String(), want) {
		t.Errorf("no %q in\n%s", want, b.String())
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
