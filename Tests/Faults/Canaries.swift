import Foundation

/// Secrets that are pushed through everything Plumb does, and looked for in everything it says and keeps.
struct Canaries: Sendable {
    let tally: Tally
    let isFull: Bool

    func run() throws {
        var world = try World("canaries", hosts: [])
        defer { world.remove() }
        let proxy = try Proxy(folder: "\(world.folder)/proxy", lab: world.lab)
        world.variables["KUBECONFIG"] = proxy.kubeconfig
        // Quotes, a backslash and a letter that encodings write in their own ways.
        let secrets = (0..<4).map { "c4nary-\($0)-\(UUID().uuidString)-\"q\\é<&>" }
        var search = Search(folder: world.folder)
        for secret in secrets + [proxy.token] { search.add(secret) }
        search.add(try keyLine(world))
        var trial = Trial()

        var said: [(String, Outcome)] = []
        func run(_ what: String, _ arguments: [String]) throws { said.append((what, try world.plumb(arguments))) }
        let everything: [[String]] = [
            ["plan", world.specs, "-v"], ["plan", world.specs, "--output", "json", "-v"], ["plan", world.specs, "--output", "markdown", "-v"],
            ["plan", world.specs, "--out", "\(world.folder)/plan.json"], ["validate", world.specs],
        ]
        let faults = isFull ? ["none", "echo-422", "echo-500", "echo-plain", "half-json", "done-500", "403"] : ["none", "echo-422"]
        for (round, fault) in faults.enumerated() {
            try write(world, secrets, round: round)
            for place in fault == "none" ? ["nowhere"] : ["dry-run", "write"] {
                try proxy.set(fault, at: place, times: 1_000_000)
                for arguments in everything { try run("\(fault) at \(place): \(arguments[0])", arguments) }
                try run("\(fault) at \(place): apply -v", ["apply", world.specs, "--yes", "-v", "--timeout", "3s"])
                try run("\(fault) at \(place): apply jsonl", world.apply("--timeout", "3s"))
            }
            try proxy.set("none", at: "nowhere", times: 0)
            try world.checkConverges(&trial)
        }
        // Killed in the middle, so that the write-ahead log is looked at as well.
        try write(world, secrets, round: 100)
        let killed = try world.start(world.apply("-v"))
        _ = killed.waits { killed.events.contains { $0.type == "started" } }
        killed.signal(SIGKILL)
        said.append(("killed", killed.end()))
        for run in 1...3 { for output in ["text", "json"] { said.append(("history", try world.plumb(["history", "\(run)", "--output", output]))) } }
        trial.check(said.allSatisfy { $0.1.status != nil }, "something hung")
        search.look(inData: world.data, &trial)
        try mistakes(world, secrets, &said)
        for (what, outcome) in said { search.look(in: [outcome.output, outcome.errors], what, &trial) }
        search.look(inFile: "\(world.folder)/plan.json", &trial)
        trial.check(said.contains { $0.1.output.contains("(sensitive)") }, "no secret came by at all")
        trial.outcomes.append("\(said.count) outputs and \(search.files) files are clean")
        tally.add("secrets", "canaries in everything said and kept", trial)
        proxy.end()
    }

    private func text(_ secret: String) -> String {
        "\"" + secret.replacingOccurrences(of: "\\", with: "\\\\").replacingOccurrences(of: "\"", with: "\\\"") + "\""
    }

    private func write(_ world: World, _ secrets: [String], round: Int) throws {
        let encoded = Data((secrets[1] + "\(round)").utf8).base64EncodedString()
        let both = "stringData: {c: \(text(secrets[2] + "\(round)"))}\ndata: {b: \(encoded)}\n"
        let specs =
            Specs.cluster + Specs.object("Namespace", "faults-canaries", namespace: nil, "")
            + Specs.object("Secret", "plain", namespace: "faults-canaries", "stringData: {a: \(text(secrets[0] + "\(round)"))}\n")
            + Specs.object("Secret", "encoded", namespace: "faults-canaries", "data: {b: \(encoded)}\n")
            + Specs.object("Secret", "both", namespace: "faults-canaries", both)
        try world.write(specs)
    }

    /// Specs that are wrong, with a secret at the very place where they are.
    private func mistakes(_ world: World, _ secrets: [String], _ said: inout [(String, Outcome)]) throws {
        let secret = text(secrets[3])
        let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: wrong, namespace: faults-canaries}\n"
        for (number, rest) in [
            "stringData: {a: [\(secret)]}", "stringData: \(secret)", "data: \(secret)", "data: {a: \(secret)}", "data: {a: {b: \(secret)}}",
            "stringData: {a: \(secret), a: \(secret)}", "stringData: {a: \(secret.dropLast())", "stringData:\n  a: \(secret)\n b: \(secret)",
            "stringData: {\(secret): 1}", "stringDatta: {a: \(secret)}", "immutable: \(secret)", "type: Opaque\nmetadata: \(secret)",
        ].enumerated() {
            try world.write(Specs.cluster + "---\n" + head + rest + "\n")
            for command in ["validate", "plan"] {
                said.append(("mistake \(number): \(command)", try world.plumb([command, world.specs] + (command == "plan" ? ["-v"] : []))))
            }
        }
    }

    /// A line of the private key that we log in with.
    private func keyLine(_ world: World) throws -> String {
        let lines = try String(contentsOfFile: "\(world.lab)/identity", encoding: .utf8).split(separator: "\n")
        return String(lines[lines.count / 2])
    }
}

/// Looks for secrets in all the ways in which they can be written.
private struct Search {
    let folder: String
    private var forms: [(String, Data)] = []
    private(set) var files = 0

    init(folder: String) { self.folder = folder }

    mutating func add(_ secret: String) {
        // Without the last letters, as these may be written in many ways; and the whole of it, as JSON and YAML have it.
        let core = String(secret.prefix(36))
        let bytes = Data(secret.utf8)
        var all = [core, bytes.map { String(format: "%02x", $0) }.joined().prefix(72).description]
        all.append(all[1].uppercased())
        for shift in 0..<3 {
            // Inside other text it can begin at any of three places of a group.
            let encoded = (Data(repeating: 0x2D, count: shift) + bytes).base64EncodedString()
            all.append(String(encoded.dropFirst(4).prefix(32)))
        }
        forms += all.map { (secret, Data($0.utf8)) }
    }

    func look(in texts: [String], _ what: String, _ trial: inout Trial) {
        for text in texts { look(in: Data(text.utf8), what, &trial) }
    }

    mutating func look(inData data: String, _ trial: inout Trial) {
        for case let name as String in FileManager.default.enumerator(atPath: data) ?? .init() { look(inFile: "\(data)/\(name)", &trial) }
    }

    mutating func look(inFile path: String, _ trial: inout Trial) {
        guard let data = try? Data(contentsOf: URL(fileURLWithPath: path)) else { return }
        files += 1
        look(in: data, path, &trial)
    }

    private func look(in data: Data, _ what: String, _ trial: inout Trial) {
        for (secret, form) in forms where data.range(of: form) != nil {
            trial.check(false, "\(what) shows \(secret.prefix(10))… as '\(String(decoding: form, as: UTF8.self).prefix(12))…'")
        }
    }
}
