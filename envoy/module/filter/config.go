package filter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/bearergate/bearergate/authz"
	"github.com/bearergate/bearergate/envoy"
)

// The bounds of timeout.
const (
	defaultTimeout = 5 * time.Second
	longestTimeout = 15 * time.Second
)

// config is a filter_config.
type config struct {
	file    string        // the configuration file
	admin   string        // the admin address; empty: there is none
	timeout time.Duration // how long a request may wait for its decision
	route   authz.Route   // what holds for routes that say nothing themselves
}

// parseConfig reads a filter_config: the path of the configuration file, or a JSON
// object, which Envoy makes of a Struct.
func parseConfig(raw []byte) (config, error) {
	c := config{timeout: defaultTimeout}
	text := strings.TrimSpace(string(raw))
	if !strings.HasPrefix(text, "{") {
		c.file = text
	} else if err := c.parseObject(text); err != nil {
		return config{}, err
	}
	if c.file == "" {
		return config{}, errors.New("want the path of a configuration file")
	}
	return c, nil
}

func (c *config) parseObject(text string) error {
	var object struct {
		Config       string `json:"config"`
		AdminAddress string `json:"admin_address"`
		Timeout      string `json:"timeout"`

		Route json.RawMessage `json:"route"`
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&object); err != nil {
		return err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("something follows the object")
	}
	c.file, c.admin = object.Config, object.AdminAddress
	if object.Route != nil {
		if c.route = parseRoute(object.Route); c.route.Unknown != "" {
			return fmt.Errorf("route: unknown key %q", c.route.Unknown)
		}
	}
	if object.Timeout == "" {
		return nil
	}
	var err error
	if c.timeout, err = time.ParseDuration(object.Timeout); err != nil || c.timeout <= 0 || c.timeout > longestTimeout {
		return fmt.Errorf("timeout: got %q, want a duration up to %s", object.Timeout, longestTimeout)
	}
	return nil
}

// unreadable stands for the key of what is no object of texts.
const unreadable = "(no JSON object of texts)"

// parseRoute reads what a route demands: a JSON object with the keys that
// context_extensions has. Nobody else's keys are there, so that each that is not known is
// a mistake.
func parseRoute(raw []byte) authz.Route {
	keys, err := texts(raw)
	if err != nil {
		return authz.Route{Unknown: unreadable}
	}
	route := envoy.DecodeRoute(keys)
	for key := range keys {
		if !strings.HasPrefix(key, "bearergate.") {
			route.Unknown = key
		}
	}
	return route
}

var errNoTexts = errors.New("want an object of texts, each key once")

// texts reads an object of texts. Of a key that stands there twice nobody knows which
// one was meant.
func texts(raw []byte) (map[string]string, error) {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	if begin, err := decoder.Token(); err != nil || begin != json.Delim('{') {
		return nil, errNoTexts
	}
	all := map[string]string{}
	for decoder.More() {
		key, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		value, err := decoder.Token()
		if err != nil {
			return nil, err
		}
		name, isName := key.(string)
		text, isText := value.(string)
		if _, twice := all[name]; !isName || !isText || twice {
			return nil, errNoTexts
		}
		all[name] = text
	}
	if _, err := decoder.Token(); err != nil {
		return nil, err
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoTexts
	}
	return all, nil
}
