import ResourceModel
import Values

extension IptablesChain {
    /// What `change` needs: the payload's parts, not its text, so that each part can be checked again.
    static func details(_ group: [Claim], references: [Rule], at place: Place, isComplete: Bool) -> Value {
        [
            "tool": .string(place.tool),
            "family": .string(place.family.rawValue),
            "table": .string(place.table.rawValue),
            // Without its rules that were deleted with another chain, what is undone here would be undone by halves.
            "canBeUndone": .bool(isComplete),
            "chains": .array(
                group.map { claim in
                    [
                        "name": .string(claim.chain), "state": .string(claim.state.rawValue),
                        "rules": .array(place.found.rules(of: claim.chain).map { .string($0.line) }),
                    ]
                }
            ),
            "references": .array(
                references.map { rule in
                    [
                        "chain": .string(rule.chain), "position": .int(Int64(rule.position)), "line": .string(rule.line),
                        "delete": .string(rule.line(replacingCommandBy: "-D \(rule.chain)")),
                        "insert": .string(rule.line(replacingCommandBy: "-I \(rule.chain) \(rule.position)")),
                    ]
                }
            ),
        ]
    }

    /// One atomic payload: it is done as a whole or not at all.
    ///
    /// `:CHAIN - [0:0]` empties the chain without reading the rules in it, and makes it where it vanished meanwhile, so that `-X` always finds it.
    /// `-F` does not make it: a chain that shall be empty is never created. It is deleted as well and made again at once, because `-X` is what
    /// fails where a rule has come to refer to it since we looked, and then nothing at all is changed.
    /// Deleting the rules that jump to a chain can cut the connection itself.
    static func change(_ drift: ResourceDrift) -> Change {
        guard let parts = Parts(drift.details) else { return Change(steps: []) }
        var lines = ["*\(parts.table.rawValue)"]
        lines += parts.references.map(\.delete)
        lines += parts.chains.map { $0.state == .empty ? "-F \($0.name)" : ":\($0.name) - [0:0]" }
        lines += parts.chains.map { "-X \($0.name)" }
        lines += parts.chains.filter { $0.state == .empty }.map { ":\($0.name) - [0:0]" }
        lines.append("COMMIT")
        let step = Step(
            .run(arguments: parts.command, input: lines.joined(separator: "\n") + "\n"),
            summary: "\(parts.command.joined(separator: " ")) with the input: \(lines.joined(separator: "; "))",
            inverse: parts.inverse
        )
        return Change(steps: [step], risk: parts.references.isEmpty ? .none : .disconnecting)
    }

    /// What goes into a payload, checked again although `detect` has looked already: nothing that is not a name stands where a name does.
    private struct Parts {
        struct Chain {
            var name: String
            var state: State
            var rules: [String]
        }

        struct Reference {
            var line: String
            var delete: String
            var insert: String
        }

        var table: Table
        var save: String
        var restore: String
        var canBeUndone: Bool
        var chains: [Chain]
        var references: [Reference]

        var command: [String] { [restore, "-w", "5", "--noflush"] }

        init?(_ details: Value) {
            guard let family = details["family"]?.stringValue.flatMap(Family.init),
                let table = details["table"]?.stringValue.flatMap(Table.init),
                let tool = details["tool"]?.stringValue, isSafeTool(tool, family),
                let chains = details["chains"]?.arrayValue, !chains.isEmpty,
                let references = details["references"]?.arrayValue
            else { return nil }
            self.table = table
            save = tool
            restore = tool.replacingSuffix("-save", by: "-restore")
            canBeUndone = details["canBeUndone"]?.boolValue ?? false
            self.chains = chains.compactMap(Self.chain)
            self.references = references.compactMap(Self.reference)
            guard self.chains.count == chains.count, self.references.count == references.count else { return nil }
        }

        private static func chain(_ value: Value) -> Chain? {
            guard let name = value["name"]?.stringValue, ChainPattern.isSafeName(name), !ChainPattern.builtIn.contains(name),
                let state = value["state"]?.stringValue.flatMap(State.init),
                let rules = value["rules"]?.arrayValue?.compactMap(\.stringValue), rules.allSatisfy({ isRule($0, of: name) })
            else { return nil }
            return Chain(name: name, state: state, rules: rules)
        }

        private static func reference(_ value: Value) -> Reference? {
            guard let chain = value["chain"]?.stringValue, ChainPattern.isSafeName(chain) || ChainPattern.builtIn.contains(chain),
                let position = value["position"]?.intValue, position > 0,
                let line = value["line"]?.stringValue, isRule(line, of: chain),
                let delete = value["delete"]?.stringValue, delete.hasPrefix("-D \(chain) "), isOneLine(delete),
                let insert = value["insert"]?.stringValue, insert.hasPrefix("-I \(chain) \(position) "), isOneLine(insert)
            else { return nil }
            return Reference(line: line, delete: delete, insert: insert)
        }

        private static func isRule(_ line: String, of chain: String) -> Bool {
            (line == "-A \(chain)" || line.hasPrefix("-A \(chain) ")) && isOneLine(line)
        }

        /// The chains with their rules, and then the rules that refer to them where they stood.
        /// A rule that this version of iptables misprints makes the whole of it fail and change nothing.
        var inverse: [Step.Operation] {
            guard canBeUndone else { return [] }
            var lines = ["*\(table.rawValue)"]
            lines += chains.map { ":\($0.name) - [0:0]" }
            lines += chains.flatMap(\.rules)
            lines += references.map(\.insert)
            lines.append("COMMIT")
            let payload = lines.joined(separator: "\n") + "\n"
            guard let first = references.first else { return [.run(arguments: command, input: payload)] }
            // Chains can be restored twice; a rule that is inserted twice stands there twice. Where it is still there the change was never made.
            let arguments = ["sh", "-c", restoreUnlessThere, "sh", save, restore, table.rawValue, first.line]
            return [.run(arguments: arguments, input: payload)]
        }
    }

    /// Constant text; all that varies comes as arguments: the tools, the table and the line that must not be there.
    private static let restoreUnlessThere =
        #""$1" </dev/null | sed -n "/^[*]$3\$/,/^COMMIT\$/p" | grep -Fxq -e "$4" || exec "$2" -w 5 --noflush"#

    static func isOneLine(_ text: String) -> Bool {
        !text.unicodeScalars.contains { $0 == "\n" || $0 == "\r" || $0 == "\0" }
    }
}
