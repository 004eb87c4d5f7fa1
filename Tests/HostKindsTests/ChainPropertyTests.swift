import Foundation
import HostKinds
import ResourceModel
import Testing
import Values

/// Random tables and random specs: what `change` gives is applied to a model of iptables, and then nothing is left to do.
struct ChainPropertyTests {
    @Test(arguments: 0..<300)
    func applyingOnceLeavesNothingToDo(seed: Int) throws {
        var random = SplitMix(state: UInt64(seed))
        let kind = try #require(HostKinds.all.first { $0.name == "IptablesChain" })
        let before = IptablesModel.random(using: &random)
        let specs = (0..<Int.random(in: 1...3, using: &random)).map { _ in randomSpec(using: &random) }
        let decoded = specs.map { Declaring.decode($0, as: kind, file: "spec.yaml") }
        #expect(decoded.allSatisfy { $0.diagnostics.isEmpty })
        let settings = distinct(decoded.flatMap(\.settings))
        let desired = Declaring.resources(settings, kind: kind.name)

        var model = before
        let drifts = kind.detect(desired, model.facts)
        #expect(Set(drifts.map(\.address)).count == drifts.count, "each address once")
        let changes = drifts.filter { $0.isChange }
        for drift in changes {
            #expect(!drift.differences.isEmpty)
            for step in kind.change(drift).steps { try model.run(step.operation) }
        }
        // Run again, as after a plan that was half done: only payloads that delete rules by their text may refuse, and then nothing changes.
        for drift in changes where kind.change(drift).risk == .none {
            let same = model
            for step in kind.change(drift).steps { try model.run(step.operation) }
            #expect(model == same, "a second run changes nothing")
        }
        let after = kind.detect(desired, model.facts)
        #expect(!after.contains { $0.isChange }, "\(CaseText.pretty(.array(after.map { CaseText.value($0, kind.change) })))")
        #expect(after == kind.detect(desired.reversed(), model.facts), "the order of the specs does not matter")

        // What was not asked for is as it was, built-in chains above all.
        let mayChange = Set(changes.map { String($0.address.resource.split(separator: "-", maxSplits: 3)[3]) })
        for (chain, rules) in before.chains where !mayChange.contains(chain) {
            let kept = rules.filter { rule in !mayChange.contains(rule.target ?? "") }
            #expect((model.chains[chain] ?? []).filter { !mayChange.contains($0.target ?? "") } == kept, "\(chain) kept its rules")
        }
        for chain in IptablesModel.builtIn { #expect(model.chains[chain] != nil) }
        for drift in drifts {
            guard case .problem(.held, _) = drift.standing else { continue }
            let chain = String(drift.address.resource.split(separator: "-", maxSplits: 3)[3])
            let kept = (before.chains[chain] ?? []).filter { !mayChange.contains($0.target ?? "") }
            #expect(model.chains[chain]?.filter { !mayChange.contains($0.target ?? "") } == kept, "a held chain is left alone")
        }
    }

    @Test(arguments: 0..<100)
    func undoingRestoresEverything(seed: Int) throws {
        var random = SplitMix(state: UInt64(seed) &+ 77_777)
        let kind = try #require(HostKinds.all.first { $0.name == "IptablesChain" })
        let before = IptablesModel.random(using: &random)
        let fields: Value = ["table": "nat", "families": ["ipv4"], "chains": ["A", "B"], "references": "remove"]
        let desired = Declaring.resources(Declaring.decode(fields, as: kind, file: "spec.yaml").settings, kind: kind.name)
        var model = before
        var done: [Step] = []
        for drift in kind.detect(desired, model.facts) where drift.isChange {
            for step in kind.change(drift).steps {
                try model.run(step.operation)
                done.append(step)
            }
        }
        for operation in done.reversed().flatMap(\.inverse) { try model.run(operation) }
        #expect(model == before)
        // And once more: an inverse that is armed and fires although nothing was changed does no harm.
        for operation in done.reversed().flatMap(\.inverse) { try model.run(operation) }
        #expect(model == before)
    }

    private func randomSpec(using random: inout SplitMix) -> Value {
        let patterns = ["A", "B", "C", "D", "*", "A*", "[AB]", "?", "[!A]*", "OLD"]
        var spec: Value = [
            "table": "nat",
            "chains": .array(Set(patterns.shuffled(using: &random).prefix(Int.random(in: 1...3, using: &random))).sorted().map(Value.string)),
        ]
        if Bool.random(using: &random) { spec["state"] = .string(["absent", "empty"].randomElement(using: &random) ?? "absent") }
        if Bool.random(using: &random) { spec["references"] = .string(["keep", "remove"].randomElement(using: &random) ?? "keep") }
        if Bool.random(using: &random) { spec["families"] = .array([.string("ipv4")]) }
        return spec
    }

    /// The loader refuses specs that contradict each other; here the first one counts.
    private func distinct(_ settings: [DeclaredSetting]) -> [DeclaredSetting] {
        var keys: Set<String> = []
        return settings.filter { keys.insert($0.key).inserted }
    }
}

/// Table nat of IPv4 in nft, with what matters here of iptables-restore: payloads are all or nothing, and a chain in use can't be deleted.
struct IptablesModel: Equatable {
    struct Rule: Hashable {
        var text: String
        var target: String?
    }

    static let builtIn = ["PREROUTING", "INPUT", "OUTPUT", "POSTROUTING"]
    var chains: [String: [Rule]] = [:]

    struct Refusal: Error {
        var line: String
    }

    static func random(using random: inout SplitMix) -> Self {
        var model = Self()
        for name in builtIn { model.chains[name] = [] }
        let own = ["A", "B", "C", "D", "AB"].filter { _ in Bool.random(using: &random) }
        for name in own { model.chains[name] = [] }
        for name in builtIn + own {
            for _ in 0..<Int.random(in: 0...3, using: &random) where Bool.random(using: &random) {
                let comment =
                    ["", #"-m comment --comment "x -j A" "#, #"-m comment --comment "it\"s -g B \\" "#, "-m comment --comment -j "]
                    .randomElement(using: &random) ?? ""
                let target = own.filter { $0 != name }.randomElement(using: &random)
                let jump = Bool.random(using: &random) ? "-j" : "-g"
                let text = "\(comment)\(target.map { "\(jump) \($0)" } ?? "-j RETURN")"
                model.chains[name]?.append(Rule(text: text, target: target))
            }
        }
        return model
    }

    var listing: String {
        var lines = ["*nat"] + Self.builtIn.map { ":\($0) ACCEPT [0:0]" }
        let own = chains.keys.filter { !Self.builtIn.contains($0) }.sorted()
        lines += own.map { ":\($0) - [0:0]" }
        for chain in Self.builtIn + own { lines += (chains[chain] ?? []).map { "-A \(chain) \($0.text)" } }
        return (lines + ["COMMIT"]).joined(separator: "\n") + "\n"
    }

    var facts: TargetFacts {
        let absent = SectionOutput(status: 0, output: "# plumb: absent\n")
        let empty = SectionOutput(status: 0, output: "# plumb: tool /usr/sbin/ip6tables-nft-save\n")
        let nft = SectionOutput(status: 0, output: "# plumb: tool /usr/sbin/iptables-nft-save\n\(listing)")
        let sections = [
            "iptables-ipv4-nft": nft, "iptables-ipv4-legacy": absent, "iptables-ipv6-nft": empty, "iptables-ipv6-legacy": absent,
        ]
        return TargetFacts(identity: "model", facts: .host(sections))
    }

    mutating func run(_ operation: Step.Operation) throws {
        guard case .run(let arguments, let input?) = operation else { throw Refusal(line: "no payload") }
        if arguments.first == "sh" {
            // What the constant script does: nothing where the line is still there.
            guard arguments.count == 8, arguments[4] == "iptables-nft-save", arguments[5] == "iptables-nft-restore", arguments[6] == "nat" else {
                throw Refusal(line: arguments.joined(separator: " "))
            }
            if listing.split(separator: "\n").contains(where: { $0 == arguments[7] }) { return }
        } else if arguments != ["iptables-nft-restore", "-w", "5", "--noflush"] {
            throw Refusal(line: arguments.joined(separator: " "))
        }
        let lines = input.split(separator: "\n").map(String.init)
        guard lines.first == "*nat", lines.last == "COMMIT", input.hasSuffix("\n") else { throw Refusal(line: "frame") }
        var copy = self
        for line in lines.dropFirst().dropLast() { try copy.apply(line) }
        self = copy
    }

    private mutating func apply(_ line: String) throws {
        let words = line.split(separator: " ", maxSplits: 2).map(String.init)
        let isDeclaration = line.hasPrefix(":")
        let chain = isDeclaration ? String(words[0].dropFirst()) : words.count > 1 ? words[1] : ""
        guard !isDeclaration || (!Self.builtIn.contains(chain) && words[1...] == ["-", "[0:0]"]) else { throw Refusal(line: line) }
        let rest = words.count > 2 ? words[2] : ""
        switch isDeclaration ? ":" : words[0] {
        case ":": chains[chain] = []
        case "-F" where chains[chain] != nil && !Self.builtIn.contains(chain): chains[chain] = []
        case "-X" where chains[chain]?.isEmpty == true && !Self.builtIn.contains(chain):
            guard !chains.values.joined().contains(where: { $0.target == chain }) else { throw Refusal(line: line) }
            chains[chain] = nil
        case "-D":
            guard let index = chains[chain]?.firstIndex(where: { $0.text == rest }) else { throw Refusal(line: line) }
            chains[chain]?.remove(at: index)
        case "-A" where chains[chain] != nil:
            let new = try rule(rest)
            chains[chain]?.append(new)
        case "-I":
            let parts = rest.split(separator: " ", maxSplits: 1).map(String.init)
            guard parts.count == 2, let position = Int(parts[0]), let rules = chains[chain], (1...(rules.count + 1)).contains(position) else {
                throw Refusal(line: line)
            }
            let new = try rule(parts[1])
            chains[chain]?.insert(new, at: position - 1)
        default: throw Refusal(line: line)
        }
    }

    private func rule(_ text: String) throws -> Rule {
        let last = text.split(separator: " ").suffix(2).map(String.init)
        let target = last.count == 2 && last[1] != "RETURN" ? last[1] : nil
        if let target, chains[target] == nil { throw Refusal(line: text) }
        return Rule(text: text, target: target)
    }
}

/// The same numbers for the same seed, everywhere.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

extension ResourceDrift {
    fileprivate var isChange: Bool { standing == .differs || standing == .surplus }
}
