import Applying
import ArgumentParser
import DriftDetection
import Foundation
import HostKinds
import Hosts
import Observing
import Planning
import Reconciling
import Reporting
import ResourceModel
import Stores
import Synchronization
import Values

struct ReleaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release",
        abstract: "Give up what Plumb holds: remove its units, forget what it changed, leave the rest as it is.",
        discussion: """
            Values stay as they are; with --restore, settings become what they were before Plumb changed them for the first time, by the same steps
            and with the same care as in an apply. What is still declared is taken again by the next apply.
            Quote a glob, so that the shell leaves it alone: plumb release 'pi-1/*'
            Exit status: 0 when everything that was meant is given up, else 1.
            """
    )

    @Argument(help: "An address, a target's name, or a glob ('*' also matches '/').")
    var addressOrGlob: String

    @Argument(help: "A folder of YAML files, or one file: where the targets are declared.")
    var source = Source.defaultPath

    @Flag(help: "Put back what was there before Plumb.")
    var restore = false

    @Flag(help: "Only forget: contact nothing, for a host that is gone for good.")
    var forget = false

    @Flag(help: "Don't ask.")
    var yes = false

    @Option(
        name: .customLong("confirm-timeout"),
        help: ArgumentHelp(
            "How long a change that may cut the connection may take, with its confirmation over a new one, before the host undoes it by itself.",
            valueName: "duration"
        )
    )
    var confirmTimeout = DurationArgument(.seconds(30))

    @OptionGroup var options: SharedOptions

    func validate() throws {
        if addressOrGlob.isEmpty { throw ValidationError("An address can't be empty; '*' means everything.") }
        if !options.targets.isEmpty { throw ValidationError("release takes one ADDRESS-OR-GLOB, and no --target.") }
        if restore, forget { throw ValidationError("--restore has to reach the host, and --forget contacts nothing.") }
        guard (.seconds(1) ... .seconds(3600)).contains(confirmTimeout.value) else {
            throw ValidationError("--confirm-timeout must be from 1s to 1h, not \(confirmTimeout).")
        }
    }

    func run() async throws {
        let terminal = Terminal(plain: options.noColor)
        let desired = try Source.load(source, contextIsGiven: options.context != nil || Source.isInPod, terminal: terminal)
        let record = try await ApplyRecord.open(command: "release", source: source, options: options, terminal: terminal)
        defer { record.close() }
        let composition = Composition(options: options, confirmTimeout: confirmTimeout.value) { terminal.writeError("\(Escaping.shown($0))\n") }
        do {
            do throws(StoreFailure) {
                try composition.inventory.load(from: options.dataDirectoryPath)
            } catch {
                throw terminal.failed(error, "nothing was changed")
            }
            try await release(desired, composition, record, terminal)
            await composition.close()
        } catch {
            await composition.close()
            throw error
        }
    }

    private func release(_ desired: DesiredState, _ composition: Composition, _ record: ApplyRecord, _ terminal: Terminal) async throws {
        let glob = AddressGlob(addressOrGlob)
        let held = composition.inventory.held.filter { glob.includes($0.address) }
        let hosts = desired.targets.compactMap { if case .host(let host) = $0, glob.couldMatch(target: host.name) { host } else { nil } }
        try checkThatSomethingIsMeant(glob, desired: desired, held: held, terminal: terminal)
        if forget { return try await forget(held, desired: desired, record: record, terminal: terminal) }

        let observed = await observe(hosts, composition: composition, terminal: terminal)
        let (settings, problems) = settings(of: hosts, held: held, glob: glob, observed: observed, composition: composition)
        let releasing = Releasing(settings, restores: restore, targets: hosts.map(Target.host), kinds: Source.kinds)
        let pass = Pass(desired: releasing.desired, kinds: Source.kinds, source: source, concurrency: options.concurrency)
        var plan = pass.plan(releasing.desired, observed: observed)
        plan.problems += problems.filter { !plan.problems.contains($0) }

        show(releasing, plan, desired: desired, terminal: terminal)
        let possible = releasing.givenUp(after: plan, succeeded: Set(plan.actions.map(\.address)))
        if possible.isEmpty {
            if !plan.problems.isEmpty { throw ExitCode(1) }
            return
        }
        try terminal.confirm("Give up \(Self.count(possible))?", isAnswered: yes)
        try await carryOut(releasing, plan, pass, composition, record, terminal)
        for host in hosts where glob.includes(ResourceAddress(target: host.name, resource: "")) {
            if case .observed? = observed.targets[host.name] { await composition.hosts.removeEmptyFolders(HostLogin(host)) }
        }
        if !plan.problems.isEmpty { throw ExitCode(1) }
    }

    /// A misspelt name should not look like "nothing to do".
    private func checkThatSomethingIsMeant(_ glob: AddressGlob, desired: DesiredState, held: [HeldSetting], terminal: Terminal) throws {
        guard held.isEmpty, !desired.targets.contains(where: { glob.couldMatch(target: $0.name) }) else { return }
        let names = desired.targets.map(\.name)
        let nearest = Diagnostic.nearest(to: String(addressOrGlob.prefix { $0 != "/" }), among: names).map { "Did you mean '\($0)'? " } ?? ""
        let pattern = Escaping.shown(addressOrGlob)
        terminal.writeError("\(terminal.errors.errorWord): '\(pattern)' means no target of the specs, and nothing that is held\n")
        terminal.writeError("    \(nearest)There are: \(Escaping.shown(names.joined(separator: ", "))).\n")
        throw ExitCode(1)
    }

    private func observe(_ hosts: [ResourceModel.Host], composition: Composition, terminal: Terminal) async -> ObservedState {
        // A host is asked for everything anyway; which of it matters is known only afterwards.
        let anything = hosts.map { host in
            DesiredResource(kind: "", handler: "", address: ResourceAddress(target: host.name, resource: ""), fields: .null, origins: [])
        }
        var progress = ProgressLine(targets: hosts.map(\.name), terminal: terminal)
        let observed = await Observing.observe(
            DesiredState(targets: hosts.map(Target.host), resources: anything, contentHash: ""),
            concurrency: options.concurrency,
            observer: { target, resources in await composition.observe(target, resources) },
            progress: { progress.answered($0.name, $1) }
        )
        progress.finish()
        return observed
    }

    /// What is meant and can be given up, in the inventory or found on a host, and what can't be.
    private func settings(
        of hosts: [ResourceModel.Host],
        held: [HeldSetting],
        glob: AddressGlob,
        observed: ObservedState,
        composition: Composition
    ) -> ([HeldSetting], [Problem]) {
        var settings: [HeldSetting] = []
        var problems: [Problem] = []
        let heldByTarget = Dictionary(grouping: held, by: \.address.target)
        for host in hosts {
            var own = heldByTarget[host.name] ?? []
            switch observed.targets[host.name] {
            case .observed(let facts):
                if !own.isEmpty, !composition.inventory.isRecognised(host.name) {
                    let message =
                        "it can't be told whether this is the machine that was changed: its /etc/machine-id is empty or can't be read. "
                        + "To forget it without touching the host: plumb release \(host.name) --forget"
                    problems.append(Problem(target: host.name, status: .unknown, message: message))
                    own = []
                }
                let known = Set(own.map(\.address))
                own += NetworkInterface.units(facts, at: host.name).filter { glob.includes($0.address) && !known.contains($0.address) }
                settings += own
            case .failed(let problem): problems.append(problem)
            case nil: break
            }
        }
        let names = Set(hosts.map(\.name))
        for target in heldByTarget.keys.sorted() where !names.contains(target) {
            let message =
                "is not declared in \(source), so it is not known how to reach it. Declare the Host again for as long as this takes; "
                + "if it is gone for good: plumb release \(target) --forget"
            problems.append(Problem(target: target, status: .invalid, message: message))
        }
        return (settings, problems)
    }

    private func carryOut(
        _ releasing: Releasing,
        _ plan: Plan,
        _ pass: Pass,
        _ composition: Composition,
        _ record: ApplyRecord,
        _ terminal: Terminal
    ) async throws {
        try await record.begin(plan)
        var collaborators = composition.applyCollaborators
        collaborators.willStart = { await record.willStart($0) }
        collaborators.didEnd = { await record.didEnd($0, $1) }
        let succeeded = Mutex<Set<ResourceAddress>>([])
        let summary = await Applying.apply(
            plan,
            desired: pass.desired,
            kinds: pass.kinds,
            collaborators: collaborators,
            options: ApplyOptions(concurrency: options.concurrency)
        ) { event in
            if case .summary = event { return }
            if case .succeeded(let address, _) = event { succeeded.withLock { _ = $0.insert(address) } }
            if let line = event.text(style: terminal.output) { terminal.write(line + "\n") }
        }
        let givenUp = releasing.givenUp(after: plan, succeeded: succeeded.withLock { $0 })
        try await end(givenUp, summary: summary, record: record, terminal: terminal)
        let left = Set(releasing.settings).subtracting(givenUp).map(\.address.description).sorted()
        if !left.isEmpty { terminal.write("Still held: \(Escaping.shown(left.joined(separator: ", "))).\n") }
        if !summary.isComplete { throw ExitCode(1) }
    }

    /// Trims the inventory, and says so in the journal.
    private func end(_ givenUp: [HeldSetting], summary: ApplySummary, record: ApplyRecord, terminal: Terminal) async throws {
        let list = givenUp.map(\.address.description).joined(separator: ", ")
        do throws(StoreFailure) {
            for (target, settings) in Dictionary(grouping: givenUp, by: \.address.target) {
                try await record.journal.giveUp(settings.map(\.address.description), at: target)
            }
        } catch {
            throw terminal.failed(error, "what was done at the hosts is done, and the inventory still has it; release again")
        }
        guard await record.end(summary, saying: givenUp.isEmpty ? "gave up nothing" : "gave up \(list)") else { throw ExitCode(1) }
        terminal.write("Given up: \(givenUp.isEmpty ? "nothing" : Escaping.shown(list)).\n")
    }

    private func forget(_ held: [HeldSetting], desired: DesiredState, record: ApplyRecord, terminal: Terminal) async throws {
        let releasing = Releasing(held, restores: false, targets: [], kinds: Source.kinds)
        if held.isEmpty { return terminal.write("Nothing is held that '\(Escaping.shown(addressOrGlob))' means.\n") }
        let lines = held.map { "  - \(Escaping.shown("\($0.address): \($0.words)"))" }
        terminal.write("Forgotten, and left on the host as it is, with what Plumb wrote there:\n\(lines.joined(separator: "\n"))\n")
        warn(of: held, desired: desired, terminal: terminal)
        try terminal.confirm("Forget \(Self.count(held))?", isAnswered: yes)
        try await record.begin(Plan(planID: "", revision: nil, source: source))
        try await end(releasing.settings, summary: ApplySummary(), record: record, terminal: terminal)
    }

    // MARK: The screen

    private func show(_ releasing: Releasing, _ plan: Plan, desired: DesiredState, terminal: Terminal) {
        if !plan.actions.isEmpty || !plan.problems.isEmpty {
            terminal.write(plan.text(style: terminal.output, showsSteps: options.verbose))
        }
        guard !releasing.settings.isEmpty else {
            if plan.problems.isEmpty { terminal.write("Nothing is held that '\(Escaping.shown(addressOrGlob))' means.\n") }
            return
        }
        var text = plan.actions.isEmpty && plan.problems.isEmpty ? "" : "\n"
        text += terminal.output.bold("Given up") + "\n"
        text += releasing.settings.map { "  - \(Escaping.shown($0.address.description))\n" }.joined()
        if !releasing.stays.isEmpty {
            text += "\n\(terminal.output.bold("Stays as it is"))\n"
            text += releasing.stays.map { "  - \(Escaping.shown($0))\n" }.joined()
        }
        terminal.write(text)
        warn(of: releasing.settings, desired: desired, terminal: terminal)
    }

    private func warn(of settings: [HeldSetting], desired: DesiredState, terminal: Terminal) {
        // What is declared in part is declared, too.
        let declared = Set(settings).subtracting(orphans(of: settings, in: desired, kinds: Source.kinds)).map(\.address.description).sorted()
        guard !declared.isEmpty else { return }
        let lines = declared.map { "  - \(Escaping.shown($0))\n" }.joined()
        terminal.write("\n\(terminal.output.yellow("Still declared: the next apply takes it again"))\n\(lines)")
    }

    private static func count(_ settings: [HeldSetting]) -> String { settings.count == 1 ? "this setting" : "these \(settings.count) settings" }
}
