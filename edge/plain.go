package edge

import (
	"bytes"
	"net/http"
	"net/netip"
	"net/textproto"
	"net/url"
	"strings"
)

// verdict says what the first bytes of a connection are.
type verdict int

const (
	// incomplete means that more bytes may make it a plain request.
	incomplete verdict = iota
	// plain means a complete request that the edge reads itself.
	plain
	// other means that net/http has to read it: everything with a body, every
	// other method or version, and everything unusual or malformed. So only
	// net/http decides about requests that two servers could understand
	// differently.
	other
)

const (
	// maxPlain is the maximum size of the header of a plain request in bytes.
	maxPlain = 12 << 10
	// maxPlainFields is the maximum number of its fields.
	maxPlainFields = 64
)

// request is a plain request: GET or HEAD, HTTP/1.1, no body, a persistent
// connection, one Host, no line folding, lines that end in CRLF. Its slices are
// parts of the connection's bytes.
type request struct {
	head         bool
	target, host []byte
	// encoding and noneMatch are the values of Accept-Encoding and
	// If-None-Match, at most one of each in a neutral request.
	encoding, noneMatch []byte
	agent, referer      []byte
	forwarded           []byte // X-Forwarded-For
	fields              []byte // the lines of all fields
	// neutral means that no field other than encoding and noneMatch affects a
	// response that the handler allows to keep, and anonymous that no field can
	// have given access to it.
	neutral, anonymous bool
	size               int // bytes
}

// read reads one request from the start of data.
func (q *request) read(data []byte) verdict {
	*q = request{neutral: true, anonymous: true}
	end := bytes.Index(data, []byte("\r\n\r\n"))
	if end < 0 {
		if len(data) > maxPlain || !mayBePlain(data) {
			return other
		}
		return incomplete
	}
	if end > maxPlain {
		return other
	}
	line, fields := data[:end], []byte(nil)
	if i := bytes.IndexByte(line, '\r'); i >= 0 {
		if i+1 == len(line) || line[i+1] != '\n' {
			return other
		}
		line, fields = line[:i], data[i+2:end+2]
	}
	if !q.readLine(line) || !q.readFields(fields) || q.host == nil {
		return other
	}
	q.fields, q.size = fields, end+4
	return plain
}

// mayBePlain reports whether more bytes can make data a plain request.
func mayBePlain(data []byte) bool {
	for _, method := range []string{"GET /", "HEAD /"} {
		n := min(len(data), len(method))
		if string(data[:n]) == method[:n] {
			// A line that ends in LF alone is net/http's.
			for i := bytes.IndexByte(data, '\n'); i >= 0; {
				if data[i-1] != '\r' {
					return false
				}
				next := bytes.IndexByte(data[i+1:], '\n')
				if next < 0 {
					break
				}
				i += 1 + next
			}
			return true
		}
	}
	return false
}

func (q *request) readLine(line []byte) bool {
	switch {
	case bytes.HasPrefix(line, []byte("GET /")):
		line = line[len("GET "):]
	case bytes.HasPrefix(line, []byte("HEAD /")):
		q.head = true
		line = line[len("HEAD "):]
	default:
		return false
	}
	target, found := bytes.CutSuffix(line, []byte(" HTTP/1.1"))
	if !found {
		return false
	}
	query := false
	for i, c := range target {
		switch {
		case c <= ' ' || c >= 0x7f || c == '#':
			return false
		case c == '?':
			query, q.neutral = true, false
		case c == '%':
			q.neutral = false // another spelling of a path
			if !query && (i+2 >= len(target) || !isHex(target[i+1]) || !isHex(target[i+2])) {
				return false
			}
		}
	}
	q.target = target
	return true
}

func isHex(c byte) bool { return c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'f' }

func (q *request) readFields(fields []byte) bool {
	for count := 0; len(fields) > 0; count++ {
		end := bytes.IndexByte(fields, '\r')
		if end < 0 || end+1 >= len(fields) || fields[end+1] != '\n' || count == maxPlainFields {
			return false
		}
		line := fields[:end]
		fields = fields[end+2:]
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 {
			return false
		}
		for _, c := range line[:colon] {
			if !isToken[c] {
				return false
			}
		}
		value := bytes.Trim(line[colon+1:], " \t")
		for _, c := range value {
			if c < ' ' && c != '\t' || c == 0x7f {
				return false
			}
		}
		if !q.field(line[:colon], value) {
			return false
		}
	}
	return true
}

// isToken has the characters of a field's name (RFC 9110 §5.6.2).
var isToken = func() (is [256]bool) {
	for c := range is {
		is[c] = c >= '0' && c <= '9' || c|0x20 >= 'a' && c|0x20 <= 'z' || c < 0x80 && strings.IndexByte("!#$%&'*+-.^_`|~", byte(c)) >= 0
	}
	return is
}()

// field takes one field. It returns false if the request is not plain.
func (q *request) field(name, value []byte) bool {
	var lower [32]byte
	if len(name) > len(lower) {
		q.neutral = false
		return true
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		lower[i] = c
	}
	switch name := lower[:len(name)]; string(name) {
	case "host":
		if q.host != nil || len(value) == 0 || !isHost(value) {
			return false
		}
		q.host = value
	case "connection":
		return bytes.EqualFold(value, []byte("keep-alive"))
	case "content-length", "transfer-encoding", "trailer", "te", "expect", "upgrade", "http2-settings", "proxy-connection", "keep-alive":
		return false
	case "accept-encoding":
		q.neutral = q.neutral && q.encoding == nil
		q.encoding = value
	case "if-none-match":
		q.neutral = q.neutral && q.noneMatch == nil && len(value) > 0
		q.noneMatch = value
	case "user-agent":
		q.agent = value
	case "referer":
		q.referer = value
	case "accept", "accept-language", "cache-control", "pragma", "upgrade-insecure-requests", "dnt", "priority", "purpose",
		"sec-fetch-site", "sec-fetch-mode", "sec-fetch-user", "sec-fetch-dest", "sec-gpc", "sec-purpose",
		"sec-ch-ua", "sec-ch-ua-mobile", "sec-ch-ua-platform", "if-modified-since", "via", "forwarded",
		"x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-real-ip":
	case "x-forwarded-for":
		q.neutral = q.neutral && q.forwarded == nil
		q.forwarded = value
	case "cookie":
		q.anonymous = false
	default:
		q.neutral = false
	}
	return true
}

// isHost reports whether a Host field is a name or an address with an optional
// port, in characters that all servers understand alike.
func isHost(value []byte) bool {
	for _, c := range value {
		if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' && c != ':' && c != '[' && c != ']' && c != '_' {
			return false
		}
	}
	return true
}

// http returns the request in net/http's form, as its server would. It returns
// nil if its server has to answer.
func (q *request) http(from netip.AddrPort) *http.Request {
	target := string(q.target)
	u, err := url.ParseRequestURI(target)
	if err != nil || u.Host != "" || u.Scheme != "" {
		return nil
	}
	header := make(http.Header, 12)
	for fields := string(q.fields); fields != ""; {
		var line string
		line, fields, _ = strings.Cut(fields, "\r\n")
		name, value, _ := strings.Cut(line, ":")
		name = textproto.CanonicalMIMEHeaderKey(name)
		if name != "Host" {
			header[name] = append(header[name], strings.Trim(value, " \t"))
		}
	}
	method := http.MethodGet
	if q.head {
		method = http.MethodHead
	}
	return &http.Request{
		Method: method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: header, Body: http.NoBody,
		Host: string(q.host), RequestURI: target, RemoteAddr: from.String(),
	}
}
