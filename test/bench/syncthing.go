package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// syncthing is Syncthing: two nodes, plain text on both, TLS 1.3 between them,
// no discovery, no relay, normal priority. It makes its files durable by
// itself. delay is fsWatcherDelayS. Where blind is set the two know each other
// only through a third node, which has the folder encrypted and no password.
type syncthing struct {
	bin   string
	delay string
	blind bool
}

func (s syncthing) name() string {
	switch {
	case s.blind:
		return "syncthing-e2ee"
	case s.delay == "0.01":
		return "syncthing"
	}
	return "syncthing-" + s.delay + "s"
}

// A node is one end.
type node struct {
	role, id, home, dir string
	port, api           int
	config              string // version of the configuration format
}

type syncthingPair struct {
	group
	bin, dir string
	nodes    []*node // a, b and where there is one the blind node
	process  map[string]*process
}

// monitored makes the process that is started the one that works.
var monitored = []string{"STMONITORED=yes", "STNORESTART=1", "STNOUPGRADE=1", "STNODEFAULTFOLDER=1"}

func (s syncthing) open(ctx context.Context, dir string) (_ pair, err error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	p := &syncthingPair{bin: s.bin, dir: dir, process: map[string]*process{}}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	roles := []string{"a", "b"}
	if s.blind {
		roles = append(roles, blindRole)
	}
	for _, role := range roles {
		n, err := p.make(ctx, role)
		if err != nil {
			return nil, err
		}
		p.nodes = append(p.nodes, n)
	}
	for _, n := range p.nodes {
		if err := os.WriteFile(filepath.Join(n.home, "config.xml"), []byte(p.configure(n, s.delay)), 0o600); err != nil {
			return nil, err
		}
	}
	for _, n := range p.nodes {
		if err := p.begin(ctx, n); err != nil {
			return nil, err
		}
	}
	for _, n := range p.nodes {
		err = until(ctx, 50*time.Millisecond, func() (bool, error) {
			var c struct {
				Connections map[string]struct{ Connected bool }
			}
			err := n.get(ctx, "/rest/system/connections", &c)
			for _, m := range p.peersOf(n) {
				if !c.Connections[m.id].Connected {
					return false, nil
				}
			}
			return err == nil, nil
		})
		if err != nil {
			return nil, err
		}
	}
	return p, p.settle(ctx)
}

// blindRole is the role of the node that has no password.
const blindRole = "blind"

// peersOf are the nodes that a node speaks with: where there is a blind one, it
// is between the others.
func (p *syncthingPair) peersOf(n *node) (list []*node) {
	for _, m := range p.nodes {
		if m != n && (len(p.nodes) == 2 || n.role == blindRole || m.role == blindRole) {
			list = append(list, m)
		}
	}
	return list
}

var versionOf = regexp.MustCompile(`<configuration version="(\d+)"`)

// make makes the keys and the folder of a node.
func (p *syncthingPair) make(ctx context.Context, role string) (*node, error) {
	n := &node{role: role, home: filepath.Join(p.dir, "home-"+role), dir: filepath.Join(p.dir, role)}
	var err error
	if n.port, err = freePort(); err != nil {
		return nil, err
	}
	if n.api, err = freePort(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Join(n.dir, ".stfolder"), 0o755); err != nil {
		return nil, err
	}
	if _, err := p.run(ctx, nil, "", p.bin, "generate", "--home", n.home, "--skip-port-probing"); err != nil {
		return nil, err
	}
	id, err := p.run(ctx, nil, "", p.bin, "--home", n.home, "--device-id")
	if err != nil {
		return nil, err
	}
	n.id = strings.TrimSpace(id)
	b, err := os.ReadFile(filepath.Join(n.home, "config.xml"))
	if err != nil {
		return nil, err
	}
	m := versionOf.FindSubmatch(b)
	if m == nil {
		return nil, fmt.Errorf("syncthing: its configuration names no version")
	}
	n.config = string(m[1])
	return n, nil
}

func (p *syncthingPair) configure(n *node, delay string) string {
	var w strings.Builder
	kind := "sendreceive"
	if n.role == blindRole {
		kind = "receiveencrypted"
	}
	fmt.Fprintf(&w, `<configuration version="%s">
<folder id="bench" label="bench" path="%s" type="%s" rescanIntervalS="3600" fsWatcherEnabled="true" fsWatcherDelayS="%s">
<device id="%s"/>
`, n.config, n.dir, kind, delay, n.id)
	for _, m := range p.peersOf(n) {
		password := ""
		if m.role == blindRole {
			password = "<encryptionPassword>bench</encryptionPassword>"
		}
		fmt.Fprintf(&w, "<device id=%q>%s</device>\n", m.id, password)
	}
	w.WriteString("</folder>\n")
	for _, m := range append(p.peersOf(n), n) {
		fmt.Fprintf(&w, "<device id=%q name=%q><address>tcp://127.0.0.1:%d</address></device>\n", m.id, m.role, m.port)
	}
	fmt.Fprintf(&w, `<gui enabled="true" tls="false"><address>127.0.0.1:%d</address><apikey>bench</apikey></gui>
<options><listenAddress>tcp://127.0.0.1:%d</listenAddress><globalAnnounceEnabled>false</globalAnnounceEnabled>
<localAnnounceEnabled>false</localAnnounceEnabled><relaysEnabled>false</relaysEnabled><natEnabled>false</natEnabled>
<urAccepted>-1</urAccepted><crashReportingEnabled>false</crashReportingEnabled><setLowPriority>false</setLowPriority>
<startBrowser>false</startBrowser><autoUpgradeIntervalH>0</autoUpgradeIntervalH><reconnectionIntervalS>1</reconnectionIntervalS>
</options></configuration>
`, n.api, n.port)
	return w.String()
}

// begin starts a node and returns when it has scanned its folder.
func (p *syncthingPair) begin(ctx context.Context, n *node) error {
	old, _ := os.ReadFile(filepath.Join(p.dir, "node-"+n.role+".log"))
	q, err := launch(p.dir, "node-"+n.role, monitored, p.bin, "serve", "--home", n.home, "--no-browser", "--no-restart")
	if err != nil {
		return err
	}
	p.process[n.role] = q
	p.add(q)
	return q.says(ctx, "Completed initial scan", int64(len(old)))
}

// get asks a node.
func (n *node) get(ctx context.Context, path string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://127.0.0.1:%d%s", n.api, path), nil)
	if err != nil {
		return err
	}
	req.Header.Set("X-API-Key", "bench")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", path, res.Status)
	}
	return json.Unmarshal(b, into)
}

func (p *syncthingPair) folders() (string, string) { return p.nodes[0].dir, p.nodes[1].dir }

func (p *syncthingPair) push(context.Context) error { return nil }

// settle asks both whether they need anything, twice with a pause between: a
// node that was told something a moment ago may not know yet.
func (p *syncthingPair) settle(ctx context.Context) error {
	calm := 0
	return until(ctx, 200*time.Millisecond, func() (bool, error) {
		for _, n := range p.nodes {
			var s struct {
				State     string
				NeedTotal int `json:"needTotalItems"`
			}
			if err := n.get(ctx, "/rest/db/status?folder=bench", &s); err != nil {
				return false, err
			}
			if s.State != "idle" || s.NeedTotal != 0 {
				calm = 0
				return false, nil
			}
		}
		calm++
		return calm > 3, nil
	})
}

func (p *syncthingPair) stop(context.Context) error {
	p.drop(p.process["a"])
	return nil
}

func (p *syncthingPair) start(ctx context.Context) error { return p.begin(ctx, p.nodes[0]) }
