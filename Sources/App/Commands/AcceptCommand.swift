import ArgumentParser
import Foundation
import Reporting
import ResourceModel
import SpecSources
import Stores

struct AcceptCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "accept",
        abstract: "Say that another machine or cluster behind a known name is the right one.",
        discussion: """
            A host is the machine with its machine-id, a cluster the one with its namespace kube-system. Where another one answers to a name, it
            is 'blocked' until it is accepted. What Plumb changed on the one before is put aside: it is never undone on the new one.
            Exit status: 0 when the one that answers now is the known one, else 1.
            """
    )

    @Argument(help: "The name of a Host or Cluster in the specs.")
    var name: String

    @Argument(help: "A folder of YAML files, one file, or a git URL.")
    var source = Source.defaultPath

    @Flag(help: "Don't ask.")
    var yes = false

    @OptionGroup var options: SharedOptions

    func validate() throws {
        if !options.targets.isEmpty { throw ValidationError("accept takes one NAME, and no --target.") }
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let loaded = try await Source.load(
            source,
            options: options.sourceOptions,
            contextIsGiven: options.context != nil || Source.isInPod,
            terminal: terminal
        )
        let desired = loaded.desired
        guard let target = desired.targets.first(where: { $0.name == name }) else {
            let names = desired.targets.map(\.name)
            let nearest = Diagnostic.nearest(to: name, among: names).map { "Did you mean '\($0)'? " } ?? ""
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(loaded.shown)) has no Host or Cluster '\(Escaping.shown(name))'\n")
            terminal.writeError("    \(nearest)There are: \(Escaping.shown(names.joined(separator: ", "))).\n")
            throw ExitCode(1)
        }
        let record = try await ApplyRecord.open(command: "accept", source: source, options: options, terminal: terminal)
        defer { record.close() }
        let composition = Composition(options: options, source: loaded.identity)
        let observation = await composition.observeAnyone(target, [])
        await composition.close()
        do {
            let identity = try identity(of: target, in: observation)
            let inventory = try await record.journal.inventory()
            let before = inventory.identities[name]
            if let before, before.id == identity.id, before.kind == identity.kind {
                terminal.write("\(name) is the \(word(identity.kind)) of \(before.firstSeen.day); there is nothing to accept.\n")
                return
            }
            show(identity, before: before, settings: inventory.settings.filter { $0.target == name }, terminal: terminal)
            try terminal.confirm("Accept \(name) as it is now?", isAnswered: yes)
            try await accept(identity, before: before, in: record)
            terminal.write("Accepted.\n")
        } catch let failure as StoreFailure {
            throw terminal.failed(failure, "nothing was accepted")
        }
    }

    private func identity(of target: Target, in observation: TargetObservation) throws(StoreFailure) -> Inventory.Identity {
        switch observation {
        case .failed(let problem): throw StoreFailure("\(name) is \(problem.status.rawValue): \(problem.message)", fix: "Mend that first.")
        case .observed(let facts):
            let identity = TargetIdentity(of: target, as: facts.identity)
            guard let id = identity.id else {
                let isHost = identity.kind == .host
                throw StoreFailure(
                    "\(name) does not say who it is: \(isHost ? "its /etc/machine-id is empty or can't be read" : "namespace kube-system can't be read")",
                    fix: isHost ? "Give it one: systemd-machine-id-setup" : "Allow it: kubectl auth can-i get namespaces"
                )
            }
            let now = Date()
            return Inventory.Identity(
                target: name,
                kind: identity.kind.rawValue,
                id: id,
                hostKey: identity.hostKey,
                firstSeen: now,
                lastSeen: now,
                acceptedBy: Caller.current(environment: ProcessInfo.processInfo.environment).description
            )
        }
    }

    private func show(_ now: Inventory.Identity, before: Inventory.Identity?, settings: [Inventory.Setting], terminal: Terminal) {
        var lines = [terminal.output.bold(name)]
        if let before {
            let times = "first seen \(before.firstSeen.shown), last seen \(before.lastSeen.shown)"
            lines.append("  then: \(words(before)); \(times)")
        } else {
            lines.append("  then: nobody is known by this name yet")
        }
        lines.append("  now:  \(words(now))")
        if !settings.isEmpty {
            lines.append("What Plumb changed on the one before is put aside; it is never undone or restored on this one:")
            lines += settings.compactMap(HeldSetting.init).map { "  - \(Escaping.shown("\($0.address): \($0.words)"))" }
        }
        terminal.write(lines.joined(separator: "\n") + "\n")
    }

    private func words(_ identity: Inventory.Identity) -> String {
        let kind = TargetIdentity.Kind(rawValue: identity.kind) ?? .host
        let key = identity.hostKey.map { ", host key \($0)" } ?? ""
        return Escaping.shown("\(kind.rawValue) with \(kind.word) \(identity.id)\(key)")
    }

    private func word(_ kind: String) -> String { kind == TargetIdentity.Kind.cluster.rawValue ? "cluster" : "machine" }

    private func accept(_ identity: Inventory.Identity, before: Inventory.Identity?, in record: ApplyRecord) async throws(StoreFailure) {
        let run = try await record.journal.begin(RunStart(command: "accept", source: Source.shown(source), caller: record.caller, started: Date()))
        try await record.journal.accept(identity)
        let then = before.map { "; it was \(words($0))" } ?? ""
        try await record.journal.end(run, outcome: .complete, message: "\(name) is \(words(identity))\(then)", at: Date())
    }
}
