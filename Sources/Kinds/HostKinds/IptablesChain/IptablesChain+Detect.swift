import ResourceModel
import Values
import YAML

extension IptablesChain {
    /// Every chain that is found and declared gets an answer under its own address (`IptablesChain/ipv4-nft-nat-NAME`); a pattern that nothing
    /// matches, or that can't be told of everywhere, gets one under the pattern's (`IptablesChain/nat-PATTERN`).
    static func detect(_ desired: [DesiredResource], _ facts: TargetFacts) -> [ResourceDrift] {
        let facts = HostFacts(facts)
        var answers: [ResourceDrift] = []
        var declarations: [Declaration] = []
        // In an order of our own, so that the answers do not depend on the order of the specs.
        let inOrder = desired.map { (resource: $0, key: $0.fields.canonicalJSON) }.sorted {
            ($0.resource.address, $0.key) < ($1.resource.address, $1.key)
        }
        for (resource, _) in inOrder {
            if let declaration = Declaration(resource) {
                declarations.append(declaration)
            } else {
                answers.append(answer(resource.address, of: [resource], .problem(.invalid, "its fields can't be understood")))
            }
        }
        var matched: Set<ResourceAddress> = []
        var unreadable: [ResourceAddress: [HostFacts.Unreadable]] = [:]
        for family in Family.allCases {
            let inFamily = declarations.filter { $0.family == family }
            if inFamily.isEmpty { continue }
            let observations = observe(family, in: facts)
            for backend in Backend.allCases {
                for table in Table.allCases {
                    let declared = inFamily.filter { $0.table == table }
                    if declared.isEmpty { continue }
                    switch readable(table, observations[backend] ?? .absent) {
                    case .success(nil): break
                    case .success(let found?):
                        let place = Place(family: family, backend: backend, table: table, tool: found.tool, found: found.table)
                        let result = compare(declared, at: place)
                        answers += result.answers
                        matched.formUnion(result.matched)
                    case .failure(let reason):
                        for declaration in declared { unreadable[declaration.resource.address, default: []].append(reason) }
                    }
                }
            }
        }
        for (address, group) in Dictionary(grouping: declarations, by: \.resource.address) {
            let resources = group.map(\.resource)
            if let reasons = unreadable[address] {
                answers.append(answer(address, of: resources, HostFacts.Unreadable.joined(reasons).standing))
            } else if !matched.contains(address) {
                answers.append(answer(address, of: resources, .inSync))
            }
        }
        return answers.sorted { $0.address < $1.address }
    }

    /// Both backends of a family, with what the one says of the other.
    private static func observe(_ family: Family, in facts: HostFacts) -> [Backend: Observation] {
        var observations: [Backend: Observation] = [:]
        for backend in Backend.allCases { observations[backend] = observe(family, backend, in: facts) }
        guard observations[.legacy] == .absent else { return observations }
        if observations[.nft] == .absent {
            let reason = HostFacts.Unreadable(
                "\(family.command) is not installed, so its chains can't be seen (the kernel may hold some all the same): install iptables"
            )
            return [.nft: .unreadable(reason)]
        }
        // Only the nft tool is there, and it saw that the kernel holds legacy tables as well.
        if facts.errorOutput(of: sectionName(family, .nft)).contains("legacy tables present") {
            let reason = "\(family.rawValue) legacy: the kernel holds legacy tables and \(family.command)-legacy-save is not installed"
            observations[.legacy] = .unreadable(.init(reason))
        }
        return observations
    }

    /// One table; nil where the backend has no tool and so is not in use.
    private static func readable(
        _ table: Table,
        _ observation: Observation
    ) -> Result<(tool: String, table: TableRules)?, HostFacts.Unreadable> {
        switch observation {
        case .absent: return .success(nil)
        case .unreadable(let reason): return .failure(reason)
        case .rules(let rules):
            if let words = rules.unreadable[table] { return .failure(.init("\(rules.tool) can't show all of table \(table.rawValue): \(words)")) }
            // A table that is not listed has never been used: it has no chains.
            return .success((rules.tool, rules.tables[table] ?? TableRules()))
        }
    }

    /// One table of one family in one backend: what a payload can change at once.
    struct Place {
        var family: Family
        var backend: Backend
        var table: Table
        var tool: String
        var found: TableRules

        func resource(_ chain: String) -> String { "\(name)/\(family.rawValue)-\(backend.rawValue)-\(table.rawValue)-\(chain)" }
    }

    /// A chain that is there, and what the specs want of it.
    struct Claim {
        var chain: String
        var declarations: [Declaration]
        var state: State
        var references: References
        var resources: [DesiredResource] { declarations.map(\.resource) }
    }

    private static func compare(_ declared: [Declaration], at place: Place) -> (answers: [ResourceDrift], matched: Set<ResourceAddress>) {
        var answers: [ResourceDrift] = []
        var matched: Set<ResourceAddress> = []
        var changing: [String: Claim] = [:]
        for chain in place.found.chains {
            let candidates = declared.filter { $0.pattern.matches(chain) }
            let exact = candidates.filter { !$0.pattern.isGlob }
            let claimants = exact.isEmpty ? candidates : exact
            guard let first = claimants.first else { continue }
            matched.formUnion(claimants.map(\.resource.address))
            let claim = Claim(chain: chain, declarations: claimants, state: first.state, references: first.references)
            let address = claim.address(at: place)
            if claimants.contains(where: { $0.state != first.state || $0.references != first.references }) {
                let patterns = claimants.map { "'\($0.pattern.text)' (\($0.resource.origins.map(\.description).joined(separator: ", ")))" }
                let message =
                    "\(patterns.joined(separator: " and ")) both mean this chain and want different things of it: name it exactly in one of them"
                answers.append(answer(address, of: claim.resources, .problem(.invalid, message)))
            } else if claim.state == .empty, place.found.rules(of: chain).isEmpty {
                answers.append(answer(address, of: claim.resources, .inSync))
            } else if !ChainPattern.isSafeName(chain) {
                let message = "the name has characters that iptables itself would not take; remove the chain by hand"
                answers.append(answer(address, of: claim.resources, .problem(.held, message)))
            } else {
                changing[chain] = claim
            }
        }
        answers += hold(&changing, at: place)
        answers += change(changing, at: place)
        return (answers, matched)
    }

    /// Takes out the chains that something else needs. What is taken out keeps its rules, so it may hold others in turn.
    private static func hold(_ changing: inout [String: Claim], at place: Place) -> [ResourceDrift] {
        var answers: [ResourceDrift] = []
        while true {
            let held = changing.values.compactMap { claim -> (claim: Claim, reason: String)? in
                let users = place.found.referrers(of: claim.chain).filter { changing[$0.chain] == nil }
                if users.isEmpty { return nil }
                if claim.references == .keep {
                    return (
                        claim,
                        "in use by \(listed(users)); left alone, since it may carry live traffic ('references: remove' deletes these rules with it)"
                    )
                }
                let unsafe = users.filter { !isSafeReferrer($0) }
                return unsafe.isEmpty ? nil : (claim, "in use by \(listed(unsafe)), which can't be deleted safely: remove it by hand")
            }
            if held.isEmpty { return answers }
            for (claim, reason) in held {
                changing[claim.chain] = nil
                answers.append(
                    answer(
                        claim.address(at: place),
                        of: claim.resources,
                        .problem(.held, reason),
                        differences: [difference(claim, at: place)],
                        fingerprint: fingerprint(claim.chain, at: place)
                    )
                )
            }
        }
    }

    /// Chains that refer to each other go in one payload. Each of them carries the whole of it, for it does no harm a second time; only rules
    /// that are deleted by their text can't be deleted twice, so these stand with the first chain alone and the others wait for that one.
    private static func change(_ changing: [String: Claim], at place: Place) -> [ResourceDrift] {
        // What earlier groups delete is gone when a later one is undone: positions are counted without it.
        var deleted: [String: [Int]] = [:]
        return groups(changing, at: place).flatMap { group -> [ResourceDrift] in
            let names = Set(group.map(\.chain))
            let found = place.found.rules.filter { !names.contains($0.chain) && !$0.targets.isDisjoint(with: names) }
            let references = found.map { rule in
                var rule = rule
                rule.position -= (deleted[rule.chain] ?? []).count { $0 < rule.position }
                return rule
            }
            for rule in found { deleted[rule.chain, default: []].append(rule.position) }
            return group.enumerated().map { index, claim in
                let carried = index == 0 ? references : []
                var differences = [difference(claim, at: place)]
                let own = references.filter { $0.targets.contains(claim.chain) }
                if !own.isEmpty {
                    differences.append(FieldDifference(path: "references", observed: .string(listed(own)), desired: "removed"))
                }
                var drift = answer(
                    claim.address(at: place),
                    of: claim.resources,
                    claim.state == .absent ? .surplus : .differs,
                    differences: differences,
                    fingerprint: .array(group.map { fingerprint($0.chain, at: place) })
                )
                drift.details = details(group, references: carried, at: place, isComplete: index == 0 || references.isEmpty)
                if index > 0, !references.isEmpty {
                    drift.dependsOn.append(group[0].address(at: place))
                    drift.notes.append("goes together with \(group[0].address(at: place))")
                }
                return drift
            }
        }
    }

    /// The chains to change, those that refer to each other together; in the order of their addresses.
    private static func groups(_ changing: [String: Claim], at place: Place) -> [[Claim]] {
        var neighbours: [String: Set<String>] = [:]
        for rule in place.found.rules where changing[rule.chain] != nil {
            for target in rule.targets where changing[target] != nil {
                neighbours[rule.chain, default: []].insert(target)
                neighbours[target, default: []].insert(rule.chain)
            }
        }
        var groups: [[Claim]] = []
        var seen: Set<String> = []
        for start in changing.keys.sorted() where seen.insert(start).inserted {
            var group = [start]
            var index = 0
            while index < group.count {
                for next in neighbours[group[index]] ?? [] where seen.insert(next).inserted { group.append(next) }
                index += 1
            }
            groups.append(group.sorted().compactMap { changing[$0] })
        }
        return groups
    }

    private static func difference(_ claim: Claim, at place: Place) -> FieldDifference {
        let count = place.found.rules(of: claim.chain).count
        let observed = "present (\(count == 0 ? "no rules" : count == 1 ? "1 rule" : "\(count) rules"))"
        return FieldDifference(path: "state", observed: .string(observed), desired: .string(claim.state.rawValue))
    }

    /// The chain's rules and who refers to it: what the change deletes.
    private static func fingerprint(_ chain: String, at place: Place) -> Value {
        [
            "chain": .string(chain), "tool": .string(place.tool),
            "rules": .array(place.found.rules(of: chain).map { .string($0.line) }),
            "referrers": .array(place.found.referrers(of: chain).map { .string($0.line) }),
        ]
    }

    private static func isSafeReferrer(_ rule: Rule) -> Bool {
        (ChainPattern.isSafeName(rule.chain) || ChainPattern.builtIn.contains(rule.chain)) && isOneLine(rule.line)
    }

    private static func listed(_ rules: [Rule]) -> String {
        let shown = rules.prefix(3).map { "\"\($0.line)\"" }.joined(separator: ", ")
        return rules.count > 3 ? "\(shown) and \(rules.count - 3) more rules" : shown
    }

    private static func answer(
        _ address: ResourceAddress,
        of resources: [DesiredResource],
        _ standing: ResourceDrift.Standing,
        differences: [FieldDifference] = [],
        fingerprint: Value = .null
    ) -> ResourceDrift {
        var dependsOn: [ResourceAddress] = []
        for address in resources.flatMap(\.dependsOn) where !dependsOn.contains(address) { dependsOn.append(address) }
        var origins = resources.flatMap(\.origins)
        origins = origins.enumerated().filter { index, origin in origins.firstIndex(of: origin) == index }.map(\.element)
        return ResourceDrift(
            address: address,
            kind: resources.first?.kind ?? name,
            handler: resources.first?.handler ?? name,
            standing: standing,
            differences: differences,
            fingerprint: fingerprint,
            dependsOn: dependsOn,
            origins: origins
        )
    }
}

extension IptablesChain.Claim {
    func address(at place: IptablesChain.Place) -> ResourceAddress {
        ResourceAddress(target: declarations.first?.resource.address.target ?? "", resource: place.resource(chain))
    }
}
