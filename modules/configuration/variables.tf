variable "bucket" {
  description = "Name of the bucket: globally unique."
  type        = string
}

variable "deletion_protection" {
  description = "Whether the bucket refuses to be destroyed with what is in it."
  type        = bool
  default     = true
  nullable    = false
}

variable "files" {
  description = "Content of the files, by name."
  type        = map(string)
}

variable "kms_key_name" {
  description = "Key that encrypts the files; null for Google's own."
  type        = string
  default     = null
}

variable "labels" {
  description = "Labels of the bucket."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "location" {
  description = "Where the bucket is."
  type        = string
}

variable "project_id" {
  description = "Project of the bucket."
  type        = string
}

variable "readers" {
  description = "IAM members that read the files, by a name of your choice."
  type        = map(string)
  default     = {}
  nullable    = false
}
