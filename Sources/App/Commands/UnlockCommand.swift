import ArgumentParser
import Foundation
import Reporting
import Stores

struct UnlockCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "unlock",
        abstract: "Take away the lock of an apply that is gone.",
        discussion: """
            Hardly ever needed: the kernel ends a lock with the process that holds it. It is for data directories on a network file system, where
            a lock can outlive its holder. A holder that is alive is never robbed. The reason goes to the journal.
            Exit status: 0 when nothing is locked (any more), else 1.
            """
    )

    @Option(help: ArgumentHelp("Why the lock is known to be left over; kept in the journal.", valueName: "text"))
    var reason: String

    @OptionGroup var dataDirectory: DataDirectoryOption

    @Flag(name: .customLong("no-color"), help: "No colours (NO_COLOR in the environment does the same).")
    var noColor = false

    func validate() throws {
        guard reason.contains(where: { !$0.isWhitespace }) else { throw ValidationError("--reason must say something.") }
    }

    func run() async throws {
        let terminal = Terminal(plain: noColor)
        do throws(StoreFailure) {
            let path = try dataDirectory.requiredPath()
            guard FileManager.default.fileExists(atPath: "\(path)/\(ApplyLock.fileName)") else {
                terminal.write("Nothing is locked.\n")
                return
            }
            let directory = try DataDirectory(creating: path)
            let caller = Caller.current(environment: ProcessInfo.processInfo.environment)
            let own = LockHolder(caller: caller, since: Date(), command: "plumb unlock")
            switch try ApplyLock.take(in: directory, for: own) {
            case .taken(let lock):
                lock.release()
                terminal.write("Nothing is locked.\n")
            case .held(let holder):
                try refuseToRob(holder, in: directory)
                try await take(from: holder, in: directory, by: caller)
                terminal.write("Unlocked.\n")
            }
        } catch {
            throw terminal.failed(error, "nothing was unlocked")
        }
    }

    private func refuseToRob(_ holder: LockHolder?, in directory: DataDirectory) throws(StoreFailure) {
        let liveness = holder?.caller.process.liveness ?? .unknown
        if liveness == .alive { throw StoreFailure.locked(by: holder, now: Date()) }
        // On a local file system the kernel's word stands: somebody lives who holds it, be it in a container whose processes we don't see.
        if liveness == .unknown, !directory.mayBeShared {
            var failure = StoreFailure.locked(by: holder, now: Date())
            failure.fix = "Its file system is a local one, where a lock ends with its holder: that one is alive. 'lslocks' shows it."
            throw failure
        }
    }

    private func take(from holder: LockHolder?, in directory: DataDirectory, by caller: Caller) async throws(StoreFailure) {
        // Written down first: there is no unlocking that leaves no trace.
        let journal = try Journal.open(in: directory)
        let run = try await journal.begin(RunStart(command: "unlock", source: "", caller: caller, started: Date()))
        try ApplyLock.force(in: directory)
        let whose = holder.map { "the lock of '\($0.command)' of \($0.caller.description), held since \($0.since.shown)" } ?? "a lock without a name"
        try await journal.end(run, outcome: .complete, message: "took away \(whose): \(reason)", at: Date())
    }
}
