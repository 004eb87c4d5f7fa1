internal import Crypto

/// Host keys that a person trusts, as OpenSSH keeps them. libssh2's own reader is not used: it overlooks `@revoked` and patterns, and calls a host
/// of which it knows a key of another type unknown.
package struct KnownHosts: Hashable, Sendable {
    /// Where a host is looked up: `name`, or `[name]:port` where the port is not 22.
    package struct Name: Hashable, Sendable {
        package let host: String
        package let port: Int
        /// `HostKeyAlias` is taken as it is, without the port.
        package let isAlias: Bool

        package init(host: String, port: Int, isAlias: Bool = false) {
            self.host = host.lowercased()
            self.port = port
            self.isAlias = isAlias
        }

        /// As it stands in known_hosts.
        package var text: String { port == 22 || isAlias ? host : "[\(host)]:\(port)" }

        /// What OpenSSH tries next: the host without its port. Only a key that is equal counts there.
        var withoutPort: Name? { port == 22 || isAlias ? nil : Name(host: host, port: 22) }
    }

    package struct Entry: Hashable, Sendable {
        enum Marker: Hashable, Sendable {
            case none
            case revoked
            case certificateAuthority
        }
        enum Hosts: Hashable, Sendable {
            /// In lower case; with `!` before those that must not match.
            case patterns([[UInt8]])
            case hashed(salt: [UInt8], hash: [UInt8])
        }

        var marker: Marker
        var hosts: Hosts
        package var key: PublicKey
        /// FILE:LINE
        package var place: String

        func matches(_ name: Name) -> Bool {
            let text = Array(name.text.utf8)
            switch hosts {
            case .hashed(let salt, let hash):
                return HMAC<Insecure.SHA1>.isValidAuthenticationCode(hash, authenticating: text, using: SymmetricKey(data: salt))
            case .patterns(let patterns):
                var isMatch = false
                for pattern in patterns {
                    if pattern.first == UInt8(ascii: "!") {
                        if KnownHosts.wildcard(pattern.dropFirst(), matches: text[...]) { return false }
                    } else if KnownHosts.wildcard(pattern[...], matches: text[...]) {
                        isMatch = true
                    }
                }
                return isMatch
            }
        }
    }

    package enum Verdict: Hashable, Sendable {
        case trusted
        case revoked(Entry)
        /// Another key of the same type is known.
        case changed([Entry])
        /// Only keys of other types are known: no trust either, for an attacker can choose the type.
        case otherType([Entry])
        /// Only a certificate authority is known, and we can't check certificates.
        case certificateAuthority(Entry)
        case unknown
    }

    package private(set) var entries: [Entry] = []
    /// The files that were read, for messages.
    package private(set) var files: [String] = []
    /// Lines that could not be read.
    package private(set) var notes: [String] = []

    package init() {}

    package init(_ text: some Sequence<UInt8>, file: String) { read(text, file: file) }

    package mutating func read(_ text: some Sequence<UInt8>, file: String) {
        files.append(file)
        var number = 0
        for line in Array(text).split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            number += 1
            let fields = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }
            guard let first = fields.first, first.first != UInt8(ascii: "#") else { continue }
            do throws(Malformed) {
                entries.append(try Self.entry(fields, place: "\(file):\(number)"))
            } catch {
                notes.append("\(file):\(number) is not used: \(error.reason)")
            }
        }
    }

    private struct Malformed: Error {
        var reason: String
    }

    private static func entry(_ fields: [ArraySlice<UInt8>], place: String) throws(Malformed) -> Entry {
        var fields = fields[...]
        var marker = Entry.Marker.none
        if let first = fields.first, first.first == UInt8(ascii: "@") {
            switch String(decoding: first, as: UTF8.self) {
            case "@revoked": marker = .revoked
            case "@cert-authority": marker = .certificateAuthority
            case let other: throw Malformed(reason: "its marker '\(other.quotable(limit: 40))' is not known")
            }
            fields = fields.dropFirst()
        }
        guard fields.count >= 3, let hosts = fields.first else { throw Malformed(reason: "it is not 'HOSTS TYPE KEY'") }
        let type = String(decoding: fields[fields.startIndex + 1], as: UTF8.self)
        guard let blob = Base64.decode(fields[fields.startIndex + 2]), let key = PublicKey(blob: blob) else {
            throw Malformed(reason: "its key is cut short or damaged")
        }
        guard key.type == type else { throw Malformed(reason: "it says '\(type.quotable(limit: 40))' before a key of type \(key.type)") }
        return Entry(marker: marker, hosts: try self.hosts(hosts), key: key, place: place)
    }

    private static func hosts(_ field: ArraySlice<UInt8>) throws(Malformed) -> Entry.Hosts {
        guard field.first == UInt8(ascii: "|") else {
            let lowered = field.map { (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains($0) ? $0 + 32 : $0 }
            return .patterns(lowered.split(separator: UInt8(ascii: ",")).map(Array.init))
        }
        let parts = field.split(separator: UInt8(ascii: "|"), omittingEmptySubsequences: false)
        guard parts.count == 4, parts[1].elementsEqual([UInt8(ascii: "1")]), let salt = Base64.decode(parts[2]), let hash = Base64.decode(parts[3]),
            hash.count == Insecure.SHA1.byteCount
        else { throw Malformed(reason: "its hashed host name is damaged") }
        return .hashed(salt: salt, hash: hash)
    }

    /// `*`: any run of characters, `?`: any one.
    static func wildcard(_ pattern: ArraySlice<UInt8>, matches text: ArraySlice<UInt8>) -> Bool {
        var pattern = pattern
        var text = text
        // Where to go on if what followed the last `*` turns out not to match: one character further.
        var retry: (pattern: ArraySlice<UInt8>, text: ArraySlice<UInt8>)?
        while true {
            if pattern.first == UInt8(ascii: "*") {
                pattern = pattern.dropFirst()
                retry = (pattern, text)
            } else if let character = text.first, let wanted = pattern.first, wanted == character || wanted == UInt8(ascii: "?") {
                pattern = pattern.dropFirst()
                text = text.dropFirst()
            } else if text.isEmpty, pattern.isEmpty {
                return true
            } else if let (after, start) = retry, !start.isEmpty {
                pattern = after
                text = start.dropFirst()
                retry = (after, text)
            } else {
                return false
            }
        }
    }

    /// The keys that the host may prove to have.
    package func keys(of name: Name) -> [Entry] {
        let own = entries.filter { $0.marker == .none && $0.matches(name) }
        if !own.isEmpty { return own }
        return name.withoutPort.map { other in entries.filter { $0.marker == .none && $0.matches(other) } } ?? []
    }

    package func check(_ key: PublicKey, of name: Name) -> Verdict {
        let names = [name] + (name.withoutPort.map { [$0] } ?? [])
        if let entry = entries.first(where: { $0.marker == .revoked && $0.key == key && names.contains(where: $0.matches) }) {
            return .revoked(entry)
        }
        let own = entries.filter { $0.matches(name) }
        let keys = own.filter { $0.marker == .none }
        if keys.contains(where: { $0.key == key }) { return .trusted }
        let sameType = keys.filter { $0.key.type == key.type }
        if !sameType.isEmpty { return .changed(sameType) }
        if !keys.isEmpty { return .otherType(keys) }
        if let other = name.withoutPort, entries.contains(where: { $0.marker == .none && $0.key == key && $0.matches(other) }) { return .trusted }
        if let authority = own.first(where: { $0.marker == .certificateAuthority }) { return .certificateAuthority(authority) }
        return .unknown
    }
}
