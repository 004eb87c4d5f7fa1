import ResourceModel
import Values
import YAML

extension Loader {
    /// Reads the host specs, each for the hosts it selects, and lays those that meet at one address together.
    mutating func expandSettings() {
        var namesTaken: [String: SourcePosition] = [:]
        var conflicts: Set<[SourcePosition]> = []
        var expanded = 0
        for document in settingDocuments {
            guard expanded <= options.maxResources, let kind = kinds[document.kind] else { continue }
            decodeEnvelope(document) { loader, metadata, spec in
                let selected = loader.selectHosts(&spec)
                let settings = kind.decode(&spec)
                guard let name = metadata.name else { return }
                let fullName = "\(document.kind)/\(name)"
                if let first = namesTaken[fullName] {
                    loader.report(
                        "'\(fullName)' is declared twice",
                        at: metadata.namePosition,
                        fix: "It stands at \(first) already; give one another name."
                    )
                }
                namesTaken[fullName] = metadata.namePosition
                expanded += selected.count * settings.count
                guard expanded <= loader.options.maxResources else {
                    loader.report(
                        "with this the specs come to more than \(loader.options.maxResources) resources",
                        at: document.node.position,
                        fix: "Select fewer hosts, or split the specs: nothing after this is looked at."
                    )
                    return
                }
                var record = DocumentRecord(
                    name: fullName,
                    isHostSpec: true,
                    position: document.node.position,
                    resources: [],
                    dependsOn: metadata.dependsOn
                )
                for host in selected {
                    for setting in settings {
                        let key = "\(host.name)/\(document.kind)/\(setting.key)"
                        record.resources.append(key)
                        loader.add(setting, of: kind, at: host, key: key, document: document, metadata: metadata, conflicts: &conflicts)
                    }
                }
                loader.documents.append(record)
            }
        }
    }

    private mutating func add(
        _ setting: DeclaredSetting,
        of kind: RegisteredKind,
        at host: Host,
        key: String,
        document: Document,
        metadata: Metadata,
        conflicts: inout Set<[SourcePosition]>
    ) {
        guard var pending = resources[key] else {
            let resource = DesiredResource(
                kind: kind.name,
                handler: kind.name,
                address: ResourceAddress(target: host.name, resource: setting.resource),
                fields: setting.fields,
                instructions: metadata.instructions,
                origins: [document.node.position]
            )
            resources[key] = PendingResource(resource: resource, places: setting.positions)
            return
        }
        resources[key] = nil
        var found: [String] = []
        pending.resource.fields = merge(pending.resource.fields, setting.fields, path: "", conflicts: &found)
        for path in found {
            let here = place(of: path, in: setting.positions) ?? document.node.position
            let there = place(of: path, in: pending.places) ?? pending.resource.origins.first ?? document.node.position
            // The same two lines meet at every host they share; saying so once is enough.
            guard conflicts.insert([here, there]).inserted else { continue }
            let values = [setting.fields, pending.resource.fields].map { $0.member(at: path)?.description ?? "" }
            report(
                "'\(path)' of \(host.name)/\(setting.resource) is declared twice: '\(values[0])' here, '\(values[1])' at \(there)",
                at: here,
                fix: "No spec comes before another; keep one of the two, or let them select other hosts."
            )
        }
        pending.places.merge(setting.positions) { first, _ in first }
        if pending.resource.origins.last != document.node.position { pending.resource.origins.append(document.node.position) }
        if metadata.instructions.keepsWhenUndeclared { pending.resource.instructions.keepsWhenUndeclared = true }
        pending.resource.instructions.addBrakes(of: metadata.instructions)
        resources[key] = pending
    }

    /// The place of a field, or of the nearest field around it.
    private func place(of path: String, in places: [String: SourcePosition]) -> SourcePosition? {
        var path = path
        while true {
            if let position = places[path] { return position }
            guard let dot = path.lastIndex(of: ".") else { return nil }
            path = String(path[..<dot])
        }
    }

    // MARK: Selectors

    /// Takes `hosts:` and returns what it selects, in the order of the names.
    private mutating func selectHosts(_ spec: inout SpecDecoder) -> [Host] {
        guard let node = spec.require("hosts") else { return [] }
        if let scalar = node.scalar {
            if scalar.text == "all" {
                if hosts.isEmpty, targetsAreKnown { spec.report("there are no hosts", at: node.position, fix: "Declare them in a HostList.") }
                return hosts
            }
            spec.report(
                "'hosts' can't be '\(scalar.text)'",
                at: node.position,
                fix: "Write all, or a mapping with names: [\(scalar.text)], matchLabels, matchExpressions, except."
            )
            return []
        }
        var decoder = SpecDecoder(node, path: "hosts")
        let names = decoder.strings("names").map { knownHosts($0, &decoder) }
        let labels = decoder.nested("matchLabels") { Self.decodeLabels(&$0) }
        let expressions = decodeExpressions(&decoder)
        let except = decoder.strings("except").map { knownHosts($0, &decoder) } ?? []
        let allowNone = decoder.bool("allowNone") ?? false
        let mistakes = decoder.finish()
        for mistake in mistakes { spec.report(mistake.message, at: mistake.position, fix: mistake.fix) }
        if names == nil, labels == nil, expressions == nil, except.isEmpty, mistakes.isEmpty {
            spec.report("'hosts' selects nothing in particular", at: node.position, fix: "Write 'hosts: all' for all hosts.")
            return []
        }
        let selected = hosts.filter { host in
            if let names, !names.contains(host.name) { return false }
            if let labels, !labels.allSatisfy({ host.labels[$0.key] == $0.value }) { return false }
            if let expressions, !expressions.allSatisfy({ $0.matches(host.labels) }) { return false }
            return !except.contains(host.name)
        }
        if selected.isEmpty, !allowNone, mistakes.isEmpty, targetsAreKnown {
            spec.report("'hosts' selects no host", at: node.position, fix: "Say 'allowNone: true' under it if that is meant.")
        }
        return selected
    }

    private func knownHosts(_ names: [(text: String, position: SourcePosition)], _ decoder: inout SpecDecoder) -> Set<String> {
        for (name, position) in names where targetsAreKnown && !hosts.contains(where: { $0.name == name }) {
            let nearest = Diagnostic.nearest(to: name, among: hosts.map(\.name))
            decoder.report("unknown host '\(name)'", at: position, fix: nearest.map { "Did you mean '\($0)'?" } ?? "Declare it in a HostList.")
        }
        return Set(names.map(\.text))
    }

    private func decodeExpressions(_ decoder: inout SpecDecoder) -> [LabelExpression]? {
        guard let node = decoder.node("matchExpressions") else { return nil }
        guard let elements = node.elements else {
            decoder.report("'hosts.matchExpressions' must be a list", at: node.position)
            return []
        }
        return elements.enumerated().compactMap { index, element in
            var inner = SpecDecoder(element, path: "hosts.matchExpressions[\(index)]")
            let expression = LabelExpression(&inner)
            for diagnostic in inner.finish() { decoder.report(diagnostic.message, at: diagnostic.position, fix: diagnostic.fix) }
            return expression
        }
    }
}

private struct LabelExpression {
    enum Operator: String, CaseIterable {
        case `in` = "In"
        case notIn = "NotIn"
        case exists = "Exists"
        case doesNotExist = "DoesNotExist"
    }

    var key: String
    var test: Operator
    var values: Set<String>

    init?(_ decoder: inout SpecDecoder) {
        let key = decoder.string("key")
        let test = decoder.choice("operator", of: Operator.self)
        let values = decoder.strings("values")
        if key == nil { decoder.report("missing field '\(decoder.path).key'", at: decoder.position) }
        guard let key, let test else {
            if test == nil { decoder.report("'\(decoder.path)' needs an operator", at: decoder.position, fix: "In, NotIn, Exists or DoesNotExist.") }
            return nil
        }
        let takesValues = test == .in || test == .notIn
        if takesValues != !(values ?? []).isEmpty {
            decoder.report("'\(test.rawValue)' takes \(takesValues ? "at least one value" : "no values")", at: decoder.position)
        }
        self.key = key
        self.test = test
        self.values = Set((values ?? []).map(\.text))
    }

    func matches(_ labels: [String: String]) -> Bool {
        switch test {
        case .in: labels[key].map(values.contains) ?? false
        // As in Kubernetes, what has no such label is not in the values either.
        case .notIn: labels[key].map { !values.contains($0) } ?? true
        case .exists: labels[key] != nil
        case .doesNotExist: labels[key] == nil
        }
    }
}

/// Lays two declarations over each other; what contradicts keeps the first value and is named in `conflicts`.
func merge(_ a: Value, _ b: Value, path: String, conflicts: inout [String]) -> Value {
    guard case .object(var members) = a, case .object(let more) = b else {
        if a != b { conflicts.append(path) }
        return a
    }
    for (key, value) in more.sorted(by: { $0.key < $1.key }) {
        let inner = path.isEmpty ? key : "\(path).\(key)"
        members[key] = members[key].map { merge($0, value, path: inner, conflicts: &conflicts) } ?? value
    }
    return .object(members)
}

extension Value {
    func member(at path: String) -> Value? {
        path.split(separator: ".").reduce(Optional(self)) { value, key in value?[String(key)] }
    }
}
