package cli

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Settings are the flags of serve, as they hold after flag, environment and
// file were read in this order. `status` shows them.
type settings struct {
	Data       string `json:"data"`
	Listen     string `json:"listen"`
	PublicURL  string `json:"public_url"`
	TLSCert    string `json:"tls_cert"`
	TLSKey     string `json:"tls_key"`
	TLSSelf    bool   `json:"tls_self"`
	Admin      string `json:"admin"`
	MaxUploads int64  `json:"max_uploads"`
	Quota      int64  `json:"quota"` // 0: none
	config     string
}

func (s *settings) flags(f *pflag.FlagSet, listen string) {
	f.StringVar(&s.Data, "data", "", "folder of everything that the service keeps")
	f.StringVar(&s.Listen, "listen", listen, "address to listen on; port 0 takes a free one")
	f.StringVar(&s.PublicURL, "public-url", "", "URL under which devices reach the service (default: that of the address)")
	f.StringVar(&s.TLSCert, "tls-cert", "", "file of the certificate chain (PEM)")
	f.StringVar(&s.TLSKey, "tls-key", "", "file of the certificate's key (PEM)")
	f.BoolVar(&s.TLSSelf, "tls-self", false, "make a certificate, which invitations pin")
	f.StringVar(&s.Admin, "admin", "", "loopback address for /healthz, /readyz and /metrics")
	f.Int64Var(&s.MaxUploads, "max-uploads", 64<<30, "bytes that one device may have stored and not committed")
	f.Var((*byteCount)(&s.Quota), "quota", "bytes that the regions of one owner may have, as 500G; 0 or none for no limit")
	f.StringVar(&s.config, "config", "", "file with lines NAME = VALUE, named like the flags")
}

const environment = "SIGNET_SERVER_"

// fill sets every flag that was not given from the environment, else from the
// file of --config.
func fill(c *cobra.Command, getenv func(string) string) error {
	f := c.Flags()
	name := func(flag string) string { return environment + strings.ToUpper(strings.ReplaceAll(flag, "-", "_")) }
	if v := getenv(name("config")); v != "" && f.Lookup("config") != nil && !f.Changed("config") {
		f.Set("config", v)
	}
	file := map[string]string{}
	if p := f.Lookup("config"); p != nil && p.Value.String() != "" {
		var err error
		if file, err = readConfig(p.Value.String()); err != nil {
			return err
		}
	}
	var failed error
	f.VisitAll(func(p *pflag.Flag) {
		v, inFile := file[p.Name]
		delete(file, p.Name)
		from := "--config"
		if e := getenv(name(p.Name)); e != "" {
			v, inFile, from = e, true, name(p.Name)
		}
		if p.Changed || !inFile || p.Name == "config" || p.Name == "help" {
			return
		}
		if err := f.Set(p.Name, v); err != nil && failed == nil {
			failed = usage("%s: %s: %v", from, p.Name, err)
		}
	})
	for n := range file {
		if failed == nil {
			failed = usage("--config: unknown setting %q", n)
		}
	}
	return failed
}

func readConfig(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, usage("--config: %v", err)
	}
	defer f.Close()
	out := map[string]string{}
	for s, n := bufio.NewScanner(f), 1; s.Scan(); n++ {
		line := strings.TrimSpace(s.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		if !ok {
			return nil, usage("--config: %s line %d is not NAME = VALUE", path, n)
		}
		out[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	return out, nil
}

// check refuses settings that contradict each other.
func (s *settings) check() error {
	switch {
	case s.Data == "":
		return usage("--data is missing: the folder of everything that the service keeps")
	case (s.TLSCert == "") != (s.TLSKey == ""):
		return usage("--tls-cert and --tls-key belong together")
	case s.TLSSelf && s.TLSCert != "":
		return usage("--tls-self and --tls-cert exclude each other")
	case s.MaxUploads <= 0:
		return usage("--max-uploads must be above 0")
	}
	if s.PublicURL != "" {
		u, err := url.Parse(s.PublicURL)
		if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
			return usage("--public-url %q is not https://HOST[:PORT]", s.PublicURL)
		}
		if u.Scheme == "http" && !isLoopback(u.Hostname()) {
			return usage("--public-url %q: plain http is for loopback addresses only", s.PublicURL)
		}
		s.PublicURL = u.Scheme + "://" + u.Host
	}
	if s.Admin != "" {
		host, _, err := net.SplitHostPort(s.Admin)
		if err != nil || !isLoopback(host) {
			return usage("--admin %q is not a loopback address with a port", s.Admin)
		}
	}
	host, _, err := net.SplitHostPort(s.Listen)
	if err != nil {
		return usage("--listen: %v", err)
	}
	if !s.tls() && !isLoopback(host) {
		return &failure{err: fmt.Errorf("--listen %s: without TLS only loopback addresses are served", s.Listen),
			hint: "add --tls-self, or --tls-cert and --tls-key", kind: "usage", code: exitUsage}
	}
	return nil
}

func (s *settings) tls() bool { return s.TLSSelf || s.TLSCert != "" }

func isLoopback(host string) bool {
	if host == "localhost" {
		return true
	}
	a, err := netip.ParseAddr(host)
	return err == nil && a.Unmap().IsLoopback()
}

// address is the URL under which devices reach a service that listens on a.
func (s *settings) address(a net.Addr) (string, error) {
	if s.PublicURL != "" {
		return s.PublicURL, nil
	}
	host, port, err := net.SplitHostPort(a.String())
	if err != nil {
		return "", err
	}
	if asked, _, err := net.SplitHostPort(s.Listen); err == nil && asked != "" && net.ParseIP(asked) == nil {
		host = asked // a name
	} else if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil || host == "" {
			return "", errors.New("the address listens everywhere and this machine has no name")
		}
	}
	if s.tls() {
		return "https://" + net.JoinHostPort(host, port), nil
	}
	return "http://" + net.JoinHostPort(host, port), nil
}
