package cli

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"signet/core/key"
	"signet/core/ring"
	"signet/service"
	"signet/transport"
)

func (a *app) serveCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{Use: "serve --data DIR", Short: "Run the service until SIGTERM", Args: exactly(0),
		Long: "Run the service. The first line on stdout, \"listening on URL\", comes when requests are answered.\n" +
			"Every flag can also be given as SIGNET_SERVER_NAME in the environment and as a line of the file of --config.",
		RunE: func(c *cobra.Command, _ []string) error {
			if err := fill(c, a.getenv); err != nil {
				return err
			}
			if err := s.check(); err != nil {
				return err
			}
			return a.serve(c.Context(), s, nil)
		}}
	s.flags(c.Flags(), "127.0.0.1:8443")
	return c
}

func (a *app) devCommand() *cobra.Command {
	var s settings
	c := &cobra.Command{Use: "dev [--data DIR]", Short: "Run a service on loopback for a trial, and print an invitation", Args: exactly(0),
		RunE: func(c *cobra.Command, _ []string) error {
			if s.Data == "" {
				dir, err := os.MkdirTemp("", "signet-dev-")
				if err != nil {
					return err
				}
				defer os.RemoveAll(dir)
				s.Data = dir
				fmt.Fprintln(a.stderr, "note: without --data everything is gone when this ends")
			}
			s.MaxUploads = 64 << 30
			if err := s.check(); err != nil {
				return err
			}
			return a.serve(c.Context(), s, func() error {
				i, err := a.invite(s.Data, "trial")
				if errors.Is(err, service.ErrNoConnector) {
					fmt.Fprintf(a.stderr, "note: no invitation: %v\n", err)
					return nil
				}
				if err != nil {
					return err
				}
				_, err = fmt.Fprintln(a.stdout, "invitation", i.URL)
				return err
			})
		}}
	c.Flags().StringVar(&s.Data, "data", "", "folder of everything that the service keeps (default: a temporary one)")
	c.Flags().StringVar(&s.Listen, "listen", "127.0.0.1:0", "loopback address to listen on")
	return c
}

// serve runs the service until ctx ends; ready is called once requests are
// answered and the first line is out.
func (a *app) serve(ctx context.Context, s settings, ready func() error) error {
	if err := makeData(s.Data); err != nil {
		return err
	}
	release, err := hold(s.Data)
	if err != nil {
		return err
	}
	defer release()
	logKey, err := signingKey(filepath.Join(s.Data, fileLogKey), true)
	if err != nil {
		return err
	}
	_, connector, err := connectorKey(s.Data, true)
	if err != nil {
		return err
	}
	// The address is taken first: a port that is in use is known at once, and
	// who connects while the logs are read waits in the queue.
	ln, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return listenError(s.Listen, err)
	}
	defer ln.Close()
	config, pin, err := s.certificate(ln.Addr())
	if err != nil {
		return err
	}
	svc, err := openService(s, logKey, connector)
	if err != nil {
		return err
	}
	err = a.answer(ctx, s, svc, ln, config, pin, ready)
	return errors.Join(err, svc.Close())
}

func openService(s settings, logKey *key.Private, connector *ring.Device) (*service.Service, error) {
	logKey.RememberOwn()
	svc, err := service.Open(service.Config{Data: s.Data, Key: logKey, Version: version(), Connector: connector, MaxUploads: s.MaxUploads, Quota: s.Quota, Ask: askEvery})
	if err != nil && newer(err) {
		return nil, err // check cannot read them either
	} else if err != nil {
		return nil, hinted(err, "signet-server check --data "+s.Data+" says what is wrong with the data")
	}
	return svc, nil
}

func listenError(address string, err error) error {
	err = fmt.Errorf("listen on %s: %w", address, err)
	if errors.Is(err, syscall.EADDRINUSE) {
		return hinted(err, "another program uses this port: choose another with --listen")
	}
	return err
}

// certificate is what TLS needs; nil where plain HTTP is served.
func (s *settings) certificate(at net.Addr) (config *tls.Config, pin []byte, err error) {
	switch {
	case s.TLSCert != "":
		cert, err := tls.LoadX509KeyPair(s.TLSCert, s.TLSKey)
		if err != nil {
			return nil, nil, fmt.Errorf("--tls-cert: %w", err)
		}
		return &tls.Config{Certificates: []tls.Certificate{cert}}, nil, nil
	case s.TLSSelf:
		address, err := s.address(at)
		if err != nil {
			return nil, nil, err
		}
		u, err := url.Parse(address)
		if err != nil {
			return nil, nil, err
		}
		cert, fingerprint, err := transport.SelfSigned(s.Data, []string{u.Hostname(), "localhost", "127.0.0.1", "::1"})
		if err != nil {
			return nil, nil, err
		}
		return &tls.Config{Certificates: []tls.Certificate{cert}}, fingerprint[:], nil
	}
	return nil, nil, nil
}

// answer answers requests until ctx ends.
func (a *app) answer(ctx context.Context, s settings, svc *service.Service, ln net.Listener, config *tls.Config, pin []byte, ready func() error) error {
	address, err := s.address(ln.Addr())
	if err != nil {
		return hinted(err, "say --public-url")
	}
	if err := svc.SetAddress(address, pin); err != nil {
		return err
	}
	effective, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := svc.SetSettings(effective); err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(a.stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	if s.Admin != "" {
		admin, err := net.Listen("tcp", s.Admin)
		if err != nil {
			return listenError(s.Admin, err)
		}
		hs := &http.Server{Handler: adminHandler(svc), ReadHeaderTimeout: 5 * time.Second}
		go hs.Serve(admin)
		defer hs.Close()
		log.Info("administration", "address", admin.Addr().String())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- transport.Serve(ctx, ln, config, transport.NewHandler(svc, transport.Limits{}, log)) }()
	// The listener is open and its queue is being served from here on.
	_, err = fmt.Fprintln(a.stdout, "listening on", address)
	if err == nil && ready != nil {
		err = ready()
	}
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-done)
}

// adminHandler answers an administrator's programs.
func adminHandler(svc *service.Service) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := svc.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ready")
	})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4")
		for _, m := range svc.Metrics() {
			fmt.Fprintf(w, "# HELP %s %s\n# TYPE %s %s\n%s %d\n", m.Name, m.Help, m.Name, m.Type, m.Name, m.Value)
		}
	})
	return mux
}
