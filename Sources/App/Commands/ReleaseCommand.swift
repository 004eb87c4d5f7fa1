import Applying
import ArgumentParser
import Foundation
import HostKinds
import Hosts
import Observing
import Planning
import Reconciling
import Reporting
import ResourceModel
import SpecSources
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
        let loaded = try await Source.load(
            source,
            options: options.sourceOptions,
            contextIsGiven: options.context != nil || Source.isInPod,
            terminal: terminal
        )
        let desired = loaded.desired
        let record = try await ApplyRecord.open(command: "release", source: source, options: options, terminal: terminal)
        defer { record.close() }
        let composition = Composition(
            options: options,
            source: loaded.identity,
            confirmTimeout: confirmTimeout.value,
            locks: TargetLocks(command: "plumb release")
        ) {
            terminal.writeError("\(Escaping.shown($0))\n")
        }
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
        let targets = desired.targets.filter { glob.couldMatch(target: $0.name) }
        let report = ReleaseReport(pattern: addressOrGlob, desired: desired, terminal: terminal, showsSteps: options.verbose)
        try checkThatSomethingIsMeant(held, targets: targets, desired: desired, terminal: terminal)
        if forget {
            let clusters = targets.compactMap { if case .cluster(let cluster) = $0 { cluster.name } else { nil } }
            if held.isEmpty, !clusters.isEmpty {
                let names = clusters.joined(separator: ", ")
                terminal.writeError("\(terminal.errors.errorWord): --forget is for hosts; what is held in \(names) stands there\n")
                terminal.writeError("    Without --forget it is given up there. Of a cluster that is gone nothing is left to forget.\n")
                throw ExitCode(1)
            }
            return try await forget(held, report: report, record: record, terminal: terminal)
        }

        let observed = await observe(targets, desired: desired, composition: composition, terminal: terminal)
        let (settings, problems) = settings(of: targets, held: held, glob: glob, observed: observed, composition: composition)
        // Hosts alone: at a cluster, that nothing is declared would mean that everything has to go.
        let hosts = targets.filter { if case .host = $0 { true } else { false } }
        let releasing = Releasing(settings, restores: restore, targets: hosts, kinds: Source.kinds)
        var pass = Pass(desired: releasing.desired, kinds: HostKinds.all, source: Source.shown(source), concurrency: options.concurrency)
        let brake = Brake(dataDirectory: options.dataDirectoryPath)
        do throws(StoreFailure) {
            pass.pauses = try brake.pauses()
        } catch {
            throw terminal.failed(error, "nothing was changed")
        }
        let names = Set(hosts.map(\.name))
        var plan = pass.plan(releasing.desired, observed: ObservedState(targets: observed.targets.filter { names.contains($0.key) }))
        plan.problems += problems.filter { !plan.problems.contains($0) }
        let hostPlan = plan
        var objects: [(cluster: Cluster, owned: [OwnedResource], actions: [Action])] = []
        for case .cluster(let cluster) in targets {
            guard case .observed(let facts)? = observed.targets[cluster.name] else { continue }
            var owned = facts.owned.filter { glob.includes($0.address) }
            let actions = actions(for: owned, facts: facts, release: composition.objectRelease)
            let paused = brake.verdicts(on: actions)
            owned.removeAll { paused[$0.address] != nil }
            for (address, verdict) in paused.sorted(by: { $0.key < $1.key }) {
                plan.problems.append(
                    Problem(target: address.target, address: address, status: verdict.status ?? .held, message: verdict.message)
                )
            }
            objects.append((cluster, owned, actions.filter { paused[$0.address] == nil }))
        }
        plan.actions += objects.flatMap(\.actions)

        report.show(releasing, objects: objects.flatMap(\.owned), plan: plan)
        let possible = releasing.givenUp(after: plan, succeeded: Set(plan.actions.map(\.address))).count + objects.map(\.owned.count).reduce(0, +)
        if possible == 0 {
            if !plan.problems.isEmpty { throw ExitCode(1) }
            return
        }
        try terminal.confirm("Give up \(Self.count(possible))?", isAnswered: yes)

        try await record.begin(plan)
        let base = composition.applyCollaborators
        var collaborators = base
        collaborators.willStart = { action in
            if let objection = brake.objection(to: action) { return objection }
            if let problem = await base.willStart(action) { return problem }
            return await record.willStart(action)
        }
        collaborators.didEnd = { await record.didEnd($0, $1) }
        var (summary, succeeded) = await carryOut(hostPlan, pass, collaborators, terminal)
        for (cluster, owned, actions) in objects where !actions.isEmpty {
            let release = composition.objectRelease
            for (action, outcome) in await carryOut(actions, of: owned, in: cluster, collaborators: collaborators, release: release) {
                let event = summary.count(action, outcome)
                if case .succeeded = outcome { succeeded.insert(action.address) }
                if let line = event.text(style: terminal.output) { terminal.write(line + "\n") }
            }
        }
        let givenUp = releasing.givenUp(after: hostPlan, succeeded: succeeded)
        let all = givenUp.map(\.address) + objects.flatMap(\.owned).map(\.address).filter(succeeded.contains)
        try await end(givenUp, all: all.sorted(), summary: summary, record: record, terminal: terminal)
        await removeFolders(of: targets, glob: glob, observed: observed, composition: composition)
        let left = Set(releasing.settings.map(\.address) + objects.flatMap(\.owned).map(\.address)).subtracting(all)
        if !left.isEmpty { terminal.write("Still held: \(Escaping.shown(left.sorted().map(\.description).joined(separator: ", "))).\n") }
        if !summary.isComplete { throw ExitCode(1) }
    }

    private func carryOut(
        _ plan: Plan,
        _ pass: Pass,
        _ collaborators: ApplyCollaborators,
        _ terminal: Terminal
    ) async -> (ApplySummary, Set<ResourceAddress>) {
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
        return (summary, succeeded.withLock { $0 })
    }

    private func removeFolders(of targets: [Target], glob: AddressGlob, observed: ObservedState, composition: Composition) async {
        for case .host(let host) in targets where glob.includes(ResourceAddress(target: host.name, resource: "")) {
            if case .observed? = observed.targets[host.name] { await composition.hosts.removeEmptyFolders(HostLogin(host)) }
        }
    }

    /// A misspelt name should not look like "nothing to do".
    private func checkThatSomethingIsMeant(_ held: [HeldSetting], targets: [Target], desired: DesiredState, terminal: Terminal) throws {
        guard held.isEmpty, targets.isEmpty else { return }
        let names = desired.targets.map(\.name)
        let nearest = Diagnostic.nearest(to: String(addressOrGlob.prefix { $0 != "/" }), among: names).map { "Did you mean '\($0)'? " } ?? ""
        let pattern = Escaping.shown(addressOrGlob)
        terminal.writeError("\(terminal.errors.errorWord): '\(pattern)' means no target of the specs, and nothing that is held\n")
        terminal.writeError("    \(nearest)There are: \(Escaping.shown(names.joined(separator: ", "))).\n")
        throw ExitCode(1)
    }

    private func observe(
        _ targets: [Target],
        desired: DesiredState,
        composition: Composition,
        terminal: Terminal
    ) async -> ObservedState {
        // A host is asked for everything anyway; which of it matters is known only afterwards.
        let anything = targets.map { target in
            DesiredResource(kind: "", handler: "", address: ResourceAddress(target: target.name, resource: ""), fields: .null, origins: [])
        }
        let declared = Dictionary(grouping: desired.resources, by: \.address.target)
        var progress = ProgressLine(targets: targets.map(\.name), terminal: terminal)
        let observed = await Observing.observe(
            DesiredState(targets: targets, resources: anything, contentHash: ""),
            concurrency: options.concurrency,
            observer: { target, _ in await composition.observe(target, declared[target.name] ?? []) },
            progress: { progress.answered($0.name, $1) }
        )
        progress.finish()
        return observed
    }

    /// What is meant and can be given up, in the inventory or found on a host, and what can't be.
    private func settings(
        of targets: [Target],
        held: [HeldSetting],
        glob: AddressGlob,
        observed: ObservedState,
        composition: Composition
    ) -> ([HeldSetting], [Problem]) {
        var settings: [HeldSetting] = []
        var problems: [Problem] = []
        let heldByTarget = Dictionary(grouping: held, by: \.address.target)
        for target in targets {
            var own = heldByTarget[target.name] ?? []
            switch observed.targets[target.name] {
            case .observed(let facts):
                guard case .host(let host) = target else { continue }
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
        let names = Set(targets.map(\.name))
        for target in heldByTarget.keys.sorted() where !names.contains(target) {
            let message =
                "is not declared in \(source), so it is not known how to reach it. Declare the Host again for as long as this takes; "
                + "if it is gone for good: plumb release \(target) --forget"
            problems.append(Problem(target: target, status: .invalid, message: message))
        }
        return (settings, problems)
    }

    /// Trims the inventory, and says so in the journal.
    ///
    /// - Parameter all: What is given up, in clusters, too.
    private func end(
        _ givenUp: [HeldSetting],
        all: [ResourceAddress],
        summary: ApplySummary,
        record: ApplyRecord,
        terminal: Terminal
    ) async throws {
        let list = all.isEmpty ? "nothing" : all.map(\.description).joined(separator: ", ")
        do throws(StoreFailure) {
            for (target, settings) in Dictionary(grouping: givenUp, by: \.address.target) {
                try await record.journal.giveUp(settings.map(\.address.description), at: target)
            }
        } catch {
            throw terminal.failed(error, "what was done at the hosts is done, and the inventory still has it; release again")
        }
        guard await record.end(summary, saying: "gave up \(list)") else { throw ExitCode(1) }
        terminal.write("Given up: \(Escaping.shown(list)).\n")
    }

    private func forget(_ held: [HeldSetting], report: ReleaseReport, record: ApplyRecord, terminal: Terminal) async throws {
        if held.isEmpty { return report.showNothing() }
        report.showForgotten(held)
        try terminal.confirm("Forget \(Self.count(held.count))?", isAnswered: yes)
        try await record.begin(Plan(planID: "", revision: nil, source: Source.shown(source)))
        try await end(held, all: held.map(\.address), summary: ApplySummary(), record: record, terminal: terminal)
    }

    private static func count(_ number: Int) -> String { number == 1 ? "this one" : "these \(number)" }
}
