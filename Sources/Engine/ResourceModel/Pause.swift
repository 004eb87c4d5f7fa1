/// The brake: somebody wants this left as it is for now. What is paused is observed and reported all the same.
package struct Pause: Hashable, Sendable, Codable {
    package enum Scope: Hashable, Sendable, Codable {
        /// A pattern for addresses, as `--target` takes it.
        case addresses(String)
        /// Everything at the target of this name.
        case target(String)
        case all
    }

    package enum Origin: String, Hashable, Sendable, Codable, CaseIterable {
        /// `plumb pause`.
        case command
        /// The annotation `plumb/pause` in a spec.
        case spec
        /// `/etc/plumb/pause` on a host.
        case host
    }

    package var scope: Scope
    /// As it was given; may be empty where nobody could be made to give one.
    package var reason: String
    /// Who: `alice@laptop`; of a spec where it stands; empty: not known.
    package var by: String
    package var since: Moment?
    /// nil: until it is taken back.
    package var until: Moment?
    package var origin: Origin

    package init(_ scope: Scope, reason: String, by: String = "", since: Moment? = nil, until: Moment? = nil, origin: Origin) {
        self.scope = scope
        self.reason = reason
        self.by = by
        self.since = since
        self.until = until
        self.origin = origin
    }

    /// Its last moment does not count.
    package func isActive(at now: Moment) -> Bool { until.map { now < $0 } ?? true }

    package func covers(_ address: ResourceAddress) -> Bool {
        switch scope {
        case .addresses(let pattern): AddressGlob(pattern).includes(address)
        case .target(let name): address.target == name
        case .all: true
        }
    }

    /// What a paused resource is `held` for: who, until when, why, and how to go on.
    ///
    /// - Parameter what: What is left as it is; a clause, may be empty.
    package func message(leaving what: String = "") -> String {
        let why = (reason.isEmpty ? "no reason given" : reason) + (what.isEmpty ? "" : ". It \(what)")
        switch origin {
        case .command:
            let who = by.isEmpty ? "" : " by \(by)"
            let start = since.map { " since \($0)" } ?? ""
            return "paused\(who)\(start)\(until.map { " until \($0)" } ?? ""): \(why). To go on: plumb resume \(scope.words)"
        case .spec: return "paused by the annotation plumb/pause in the specs (\(by)): \(why). To go on, take it away there"
        case .host: return "paused on the host by /etc/plumb/pause: \(why). To go on, remove that file there"
        }
    }
}

extension Pause.Scope {
    /// As the arguments of `plumb pause` and `plumb resume`: `'pi-1/*'`, `--host pi-1`, `--all`.
    package var words: String {
        switch self {
        case .addresses(let pattern): pattern.contains { $0 == "*" || $0 == "?" || $0 == " " } ? "'\(pattern)'" : pattern
        case .target(let name): "--host \(name)"
        case .all: "--all"
        }
    }
}

extension [Pause] {
    /// The pause that counts for an address: of several the one that ends last; nil: it is not paused.
    package func pause(of address: ResourceAddress) -> Pause? {
        var found: Pause?
        for pause in self where pause.covers(address) {
            guard let last = found?.until else {
                if found == nil { found = pause }
                continue
            }
            if pause.until.map({ $0 > last }) ?? true { found = pause }
        }
        return found
    }
}
