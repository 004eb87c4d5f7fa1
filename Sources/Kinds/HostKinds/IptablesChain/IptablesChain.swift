package import ResourceModel
import Values
import YAML

/// A user-defined chain of iptables that must be gone, or empty, wherever it is found: IPv4 and IPv6, nft and legacy.
///
/// | field | meaning | default |
/// |---|---|---|
/// | `table` | filter, nat, mangle, raw or security | required |
/// | `chains` | names or globs (`*`, `?`, `[a-z]`, `[!a]`); a glob never means a built-in chain | required |
/// | `families` | ipv4, ipv6 | both |
/// | `state` | `absent`, or `empty`: flushed where it exists, and never created | absent |
/// | `references` | `keep`: a chain that a rule jumps to is live and left alone; `remove`: those rules are deleted with it | keep |
package enum IptablesChain {
    package static let name = "IptablesChain"

    package static let kind = RegisteredKind(
        name: name,
        decode: { decode(&$0) },
        probe: probe,
        detect: { detect($0, $1) },
        change: { change($0) },
        declares: { resource, address, _ in declares(resource, address) },
        relinquish: { relinquish($0, restores: $1) },
        settle: { settle($0) }
    )

    enum Table: String, CaseIterable, Hashable {
        case filter, nat, mangle, raw, security
    }

    enum Family: String, CaseIterable, Hashable {
        case ipv4, ipv6
        /// How the family's commands begin.
        var command: String { self == .ipv4 ? "iptables" : "ip6tables" }
    }

    /// The two homes of iptables rules in the kernel. Both can hold chains at once.
    enum Backend: String, CaseIterable, Hashable {
        case nft, legacy
    }

    enum State: String, CaseIterable, Hashable {
        case absent, empty
    }

    enum References: String, CaseIterable, Hashable {
        case keep, remove
    }

    /// One pattern in one family, as declared.
    struct Declaration: Hashable {
        var family: Family
        var table: Table
        var pattern: ChainPattern
        var state: State
        var references: References
        var resource: DesiredResource

        /// nil: the fields are not what `decode` writes.
        init?(_ resource: DesiredResource) {
            let fields = resource.fields
            guard let family = fields["family"]?.stringValue.flatMap(Family.init),
                let table = fields["table"]?.stringValue.flatMap(Table.init),
                let pattern = fields["pattern"]?.stringValue.flatMap({ try? ChainPattern($0) }),
                let state = State(rawValue: fields["state"]?.stringValue ?? State.absent.rawValue),
                let references = References(rawValue: fields["references"]?.stringValue ?? References.keep.rawValue)
            else { return nil }
            self.family = family
            self.table = table
            self.pattern = pattern
            self.state = state
            self.references = references
            self.resource = resource
        }
    }

    static func decode(_ decoder: inout SpecDecoder) -> [DeclaredSetting] {
        let table = decoder.required("table") { $0.choice("table", of: Table.self) }
        let patterns = decodePatterns(&decoder)
        let families = decodeFamilies(&decoder)
        let statePosition = decoder.position(of: "state")
        let state = decoder.choice("state", of: State.self) ?? .absent
        let references = decoder.choice("references", of: References.self)
        guard let table else { return [] }
        return families.flatMap { family in
            patterns.map { pattern in
                // The default state is written out: who leaves it out asks for `absent`, and a second spec that says `empty` contradicts that.
                var fields: Value = [
                    "family": .string(family.rawValue), "table": .string(table.rawValue), "pattern": .string(pattern.text),
                    "state": .string(state.rawValue),
                ]
                if let references { fields["references"] = .string(references.rawValue) }
                var positions = [
                    "table": decoder.position(of: "table"), "pattern": decoder.position(of: "chains"), "family": decoder.position(of: "families"),
                    "state": statePosition,
                ]
                positions["references"] = decoder.declaredPosition(of: "references")
                return DeclaredSetting(
                    resource: "\(name)/\(table.rawValue)-\(pattern.text)",
                    key: "\(name)/\(family.rawValue)-\(table.rawValue)-\(pattern.text)",
                    fields: fields,
                    positions: positions
                )
            }
        }
    }

    private static func decodePatterns(_ decoder: inout SpecDecoder) -> [ChainPattern] {
        guard let texts = decoder.required("chains", { $0.strings("chains") }) else { return [] }
        if texts.isEmpty { decoder.report("'chains' is empty", at: decoder.position(of: "chains"), fix: "Name at least one chain.") }
        var patterns: [ChainPattern] = []
        for (text, position) in texts {
            do throws(ChainPattern.Refusal) {
                let pattern = try ChainPattern(text)
                if patterns.contains(pattern) {
                    decoder.report("the chain '\(text)' is listed twice", at: position)
                } else {
                    patterns.append(pattern)
                }
            } catch {
                decoder.report("the chain '\(text)' \(error.reason)", at: position, fix: error.fix)
            }
        }
        return patterns
    }

    private static func decodeFamilies(_ decoder: inout SpecDecoder) -> [Family] {
        guard let texts = decoder.strings("families") else { return Family.allCases }
        if texts.isEmpty {
            decoder.report("'families' is empty", at: decoder.position(of: "families"), fix: "Leave it out to mean both.")
        }
        var families: [Family] = []
        for (text, position) in texts {
            guard let family = Family(rawValue: text) else {
                decoder.report("'families' can't contain '\(text)'", at: position, fix: "It is a list of: ipv4, ipv6.")
                continue
            }
            if families.contains(family) { decoder.report("the family '\(text)' is listed twice", at: position) }
            families.append(family)
        }
        return families
    }
}
