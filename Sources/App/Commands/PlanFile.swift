import ArgumentParser
import Foundation
import Planning
import Reporting

/// Plans in files: written by `plan --out`, compared by `apply`.
enum PlanFile {
    /// A source that ends like this is a plan.
    static func isNamed(_ source: String) -> Bool { source.hasSuffix(".json") }

    /// Written beside its name and moved there, so that a reader finds the whole plan or none.
    static func write(_ plan: Plan, to path: String, terminal: Terminal) throws {
        let url = URL(fileURLWithPath: path)
        let draft = url.deletingLastPathComponent().appendingPathComponent(".\(url.lastPathComponent).\(ProcessInfo.processInfo.processIdentifier)")
        do {
            guard
                FileManager.default.createFile(
                    atPath: draft.path,
                    contents: Data(plan.document.prettyJSON.utf8),
                    attributes: [.posixPermissions: 0o600]
                )
            else { throw CocoaError(.fileWriteNoPermission) }
            guard rename(draft.path, url.path) == 0 else { throw CocoaError(.fileWriteUnknown) }
        } catch {
            try? FileManager.default.removeItem(at: draft)
            terminal.writeError("error: the plan can't be written to \(Escaping.shown(path)): \(Escaping.shown("\(error.localizedDescription)"))\n")
            throw ExitCode(1)
        }
    }

    /// - Throws: exit status 1, after the reason was printed.
    static func read(_ path: String, terminal: Terminal) throws -> SavedPlan {
        do throws(SavedPlan.Refusal) {
            return try SavedPlan(file: try contents(of: path))
        } catch {
            terminal.writeError("\(terminal.errors.errorWord): \(Escaping.shown(path)) \(Escaping.shown(error.reason))\n")
            terminal.writeError("    Nothing was contacted, nothing was changed.\n")
            throw ExitCode(1)
        }
    }

    private static func contents(of path: String) throws(SavedPlan.Refusal) -> [UInt8] {
        let limit = 256 << 20
        guard let handle = FileHandle(forReadingAtPath: path) else {
            throw SavedPlan.Refusal(reason: "can't be read: \(String(cString: strerror(errno)))")
        }
        defer { try? handle.close() }
        guard let data = try? handle.read(upToCount: limit + 1) ?? Data() else { throw SavedPlan.Refusal(reason: "can't be read") }
        guard data.count <= limit else { throw SavedPlan.Refusal(reason: "has more than \(limit) bytes, so it is no plan of Plumb") }
        return Array(data)
    }
}
