package lint

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoregistry"
	_ "google.golang.org/protobuf/types/known/emptypb" // stands for extensions that are not linked
)

// typeOf returns the message name of a typed configuration.
func typeOf(n *node) string {
	url := n.member("@type").string()
	return url[strings.LastIndexByte(url, '/')+1:]
}

// decode reads n as Envoy would. Extensions whose types are not linked are taken
// for empty ones, and fields of newer releases are left out.
func decode(n *node, into proto.Message) error {
	if n == nil {
		return nil
	}
	var out strings.Builder
	writeJSON(&out, n, true)
	err := protojson.UnmarshalOptions{DiscardUnknown: true, AllowPartial: true}.Unmarshal([]byte(out.String()), into)
	if err != nil {
		return fmt.Errorf("%s:%d: no %s: %s", n.name(), n.at(), into.ProtoReflect().Descriptor().Name(), plainError(err))
	}
	return nil
}

// plainError leaves out what protojson says of the place, which is one in our own
// text, and the space by which it keeps others from relying on its words.
func plainError(err error) string {
	text := strings.ReplaceAll(err.Error(), "\u00a0", " ")
	text = strings.TrimPrefix(text, "proto: ")
	if strings.HasPrefix(text, "(") {
		if _, rest, ok := strings.Cut(text, "): "); ok {
			return rest
		}
	}
	return text
}

func writeJSON(out *strings.Builder, n *node, top bool) {
	switch {
	case n.isObject:
		if !top && n.member("@type") != nil && !isLinked(typeOf(n)) {
			out.WriteString(`{"@type":"type.googleapis.com/google.protobuf.Empty","value":{}}`)
			return
		}
		out.WriteByte('{')
		for i, key := range n.keys {
			if i > 0 {
				out.WriteByte(',')
			}
			writeString(out, key)
			out.WriteByte(':')
			writeJSON(out, n.children[i], false)
		}
		out.WriteByte('}')
	case n.isList:
		out.WriteByte('[')
		for i, item := range n.children {
			if i > 0 {
				out.WriteByte(',')
			}
			writeJSON(out, item, false)
		}
		out.WriteByte(']')
	case n.quoted:
		writeString(out, n.text)
	case n.text == "":
		out.WriteString("null")
	case json.Valid([]byte(n.text)):
		out.WriteString(n.text)
	default:
		writeString(out, n.text)
	}
}

func writeString(out *strings.Builder, s string) {
	quoted, err := json.Marshal(s)
	if err != nil {
		quoted = []byte(strconv.QuoteToASCII(s))
	}
	out.Write(quoted)
}

func isLinked(name string) bool {
	_, err := protoregistry.GlobalTypes.FindMessageByURL("type.googleapis.com/" + name)
	return err == nil
}
