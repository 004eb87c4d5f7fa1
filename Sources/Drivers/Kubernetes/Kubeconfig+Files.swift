import Foundation
import KubernetesAPI
import YAML

extension Kubeconfig {
    /// Reads the file that was named, or all that `KUBECONFIG` names, or the one in the home folder.
    static func load(_ login: ClusterLogin, environment: [String: String]) throws(APIFailure) -> Kubeconfig {
        if let path = login.kubeconfig {
            guard let config = try read(path) else { throw APIFailure(.credentials, "there is no file \(path)") }
            return config
        }
        let home = environment["HOME"] ?? NSHomeDirectory()
        let named = (environment["KUBECONFIG"] ?? "").split(separator: ":").map(String.init)
        let paths = named.isEmpty ? ["\(home)/.kube/config"] : named
        var merged: Kubeconfig?
        for path in paths {
            // kubectl passes over files that are not there, so that one list can serve several machines.
            guard let config = try read(path) else { continue }
            if merged == nil { merged = config } else { merged?.merge(config) }
        }
        guard let merged else {
            let source = named.isEmpty ? "there is no kubeconfig: KUBECONFIG is not set" : "KUBECONFIG names no file that is there"
            throw APIFailure(.credentials, "\(source), and \(paths.joined(separator: ", ")) can't be found. Give one with --kubeconfig")
        }
        return merged
    }

    private static func read(_ path: String) throws(APIFailure) -> Kubeconfig? {
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: path, isDirectory: &isFolder) else { return nil }
        if isFolder.boolValue { throw APIFailure(.credentials, "\(path) can't be read: it is a folder") }
        do {
            let data = try Data(contentsOf: URL(fileURLWithPath: path))
            return try Kubeconfig(Array(data), file: path)
        } catch let failure as APIFailure {
            throw failure
        } catch {
            throw APIFailure(.credentials, "\(path) can't be read: \(FileWords.reason(error))")
        }
    }

    /// Relative paths in a kubeconfig are relative to that file.
    static func path(_ text: Text) -> String {
        text.value.hasPrefix("/") ? text.value : URL(fileURLWithPath: text.value, relativeTo: folder(of: text.position.file)).standardizedFileURL.path
    }

    private static func folder(of file: String) -> URL { URL(fileURLWithPath: file).deletingLastPathComponent() }

    /// What stands in the file itself, in Base64, goes before what it points to.
    static func pem(_ inline: Text?, file: Text?) throws(APIFailure) -> (bytes: [UInt8], place: SourcePosition)? {
        if let inline {
            guard let data = Data(base64Encoded: inline.value, options: .ignoreUnknownCharacters), !data.isEmpty else {
                throw failure("this is no Base64", at: inline.position)
            }
            return (Array(data), inline.position)
        }
        guard let file else { return nil }
        let path = path(file)
        do {
            return (Array(try Data(contentsOf: URL(fileURLWithPath: path))), file.position)
        } catch {
            throw failure("\(path) can't be read: \(FileWords.reason(error))", at: file.position)
        }
    }
}

enum FileWords {
    /// Foundation's own text repeats the path and says little else.
    static func reason(_ error: any Error) -> String {
        let error = error as NSError
        let cause = (error.userInfo[NSUnderlyingErrorKey] as? NSError) ?? error
        if cause.domain == NSPOSIXErrorDomain { return String(cString: strerror(Int32(cause.code))).lowercased() }
        switch error.code {
        case CocoaError.fileReadNoSuchFile.rawValue, CocoaError.fileNoSuchFile.rawValue: return "there is no such file"
        case CocoaError.fileReadNoPermission.rawValue: return "permission denied"
        default: return error.localizedDescription
        }
    }
}
